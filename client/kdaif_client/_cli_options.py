"""The options that name a job's data and settings; the same for ``kdaif submit`` and ``kdaif check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdaif_client._cli_forms import NOISE_FORMS, STUDENT_FORMS, TEACHER_FORMS

_DATA = "NAME|FILE"

Labeled = Annotated[str | None, typer.Option("--labeled", metavar=_DATA, help="Rows with human labels.")]
Unlabeled = Annotated[str | None, typer.Option("--unlabeled", metavar=_DATA, help="The pool that the teacher labels.")]
Validation = Annotated[
    str | None,
    typer.Option("--validation", metavar=_DATA, help="Labels that score the weights; default a share of --labeled."),
]
Test = Annotated[
    str | None, typer.Option("--test", metavar=_DATA, help="Labels that only measure; default a share of --labeled.")
]
External = Annotated[
    str | None,
    typer.Option(
        "--external", metavar=_DATA, help="Labels of a set from elsewhere; the report repeats its comparison on it."
    ),
]
Student = Annotated[str | None, typer.Option("--student", metavar="NET", help=f"{STUDENT_FORMS}.")]
Teacher = Annotated[str | None, typer.Option("--teacher", metavar="TEACHER", help=f"{TEACHER_FORMS}.")]
PlantedNoise = Annotated[
    str | None,
    typer.Option("--planted-noise", metavar="KIND:SHARE", help=f"A rehearsal with wrong soft targets: {NOISE_FORMS}."),
]
Categorical = Annotated[
    str | None,
    typer.Option("--categorical", metavar="COL,COL", help="Integer columns that name categories; text always does."),
]
Nullable = Annotated[
    str | None,
    typer.Option("--nullable", metavar="COL,COL", help="Columns in which a null is a value to learn from."),
]
Rounds = Annotated[int | None, typer.Option("--rounds", help="Rounds of training and weighing; default 8.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Default 0.")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Seeds that each arm is trained with; default 3.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:0; default auto.")]
MaxRuntime = Annotated[
    int | None, typer.Option("--max-runtime-s", help="Wall-clock limit of one attempt; default a day.")
]
Priority = Annotated[
    int | None, typer.Option("--priority", help="-100 to 100 among your tenant's jobs, higher first; default 0.")
]
Gpus = Annotated[int | None, typer.Option("--gpus", help="GPUs that the worker must have; default 0.")]
WorkerLabels = Annotated[
    str | None,
    typer.Option("--worker-labels", metavar="LABEL,LABEL", help="Labels that the worker must carry, all of them."),
]
Deadline = Annotated[
    int | None,
    typer.Option(
        "--deadline-s", help="Seconds from now by which the job must be over, waiting included; default none."
    ),
]
SpecFile = Annotated[
    Path | None, typer.Option("--spec", metavar="FILE", help="A whole spec as JSON; other options override it.")
]
