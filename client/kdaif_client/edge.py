"""``kdaif-edge``: predictions of a pulled student for a file or a folder of pictures. Needs no server."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from kdaif_client._edge_rows import batches
from kdaif_client.bundle import VARIANTS, Decisions, Student
from kdaif_client.errors import InvalidArgument, KdaifClientError

_COLUMNS = ("row", "label", "confidence", "abstained")
_EPILOG = """\
One line per row: row (its number from 0, or the picture's path), label, confidence (the probability of the most
probable class), abstained. Where the student abstains the label is empty.

exit codes: 0 done; 1 the bundle or the machine is at fault; 2 the options or the rows are
An --output appears whole or not at all.

examples:
  kdaif pull JOB student
  kdaif-edge student rows.csv --output predictions.csv
  kdaif-edge student pictures/ --abstain-below 0.9 --format jsonl
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
        sys.stdout.flush()
    except InvalidArgument as error:
        sys.stderr.write(f"kdaif-edge: {error}\n")
        return 2
    except BrokenPipeError:
        # The reader has seen enough, for example `| head`. Nothing may be left to flush at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KdaifClientError, OSError) as error:
        sys.stderr.write(f"kdaif-edge: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kdaif-edge",
        description="Verifies a pulled student and predicts the rows of a CSV, of JSON lines or of a picture folder.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kdaif-edge {version('kdaif-client')}")
    parser.add_argument("student", type=Path, help="the folder that `kdaif pull` filled")
    parser.add_argument("input", type=Path, help="a .csv, a .jsonl or .ndjson, or a folder of .png and .jpg")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where predictions go (default: standard output)")
    parser.add_argument("--format", choices=("csv", "jsonl"), help="default: as --output ends, else csv")
    parser.add_argument("--abstain-below", type=float, metavar="P", help="0 to 1; no label where confidence is below")
    parser.add_argument("--variant", choices=(*VARIANTS, "auto"), default="fp32", help="default: fp32")
    parser.add_argument("--public-key", type=Path, metavar="PEM", help="the student must be signed by it")
    parser.add_argument("--batch-rows", type=int, default=1024, metavar="N", help="rows read at a time (default: 1024)")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.batch_rows < 1:
        raise InvalidArgument.of("--batch-rows", f"is {options.batch_rows}; give 1 or more")
    student = Student.open(options.student, variant=options.variant, public_key=options.public_key)
    output: Path | None = options.output
    as_json = (options.format or ("jsonl" if output and output.suffix in (".jsonl", ".ndjson") else "csv")) == "jsonl"
    if output is None:
        _predict(student, options, _writer(sys.stdout, as_json))
        return
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    with ExitStack() as undo:
        undo.callback(part.unlink, missing_ok=True)
        with part.open("w", encoding="utf-8", newline="") as stream:
            _predict(student, options, _writer(stream, as_json))
        part.replace(output)


def _predict(
    student: Student, options: argparse.Namespace, write: Callable[[Sequence[str | int], Decisions], None]
) -> None:
    done = 0
    for batch in batches(options.input, student.manifest["input"], options.batch_rows):
        try:
            decisions = student.decide(batch.X, abstain_below=options.abstain_below)
        except InvalidArgument as error:
            # Rows in its message count from the batch's first.
            raise InvalidArgument(f"{options.input}, in the rows from {batch.names[0]} on: {error}") from None
        write(batch.names, decisions)
        done += len(batch.names)
        if not options.quiet:
            sys.stderr.write(f"{done} rows\n")


def _writer(stream: TextIO, as_json: bool) -> Callable[[Sequence[str | int], Decisions], None]:
    table = csv.writer(stream, lineterminator="\n")
    head_due = not as_json

    def write(names: Sequence[str | int], decisions: Decisions) -> None:
        nonlocal head_due
        if head_due:  # with the first rows, not before what refuses them
            table.writerow(_COLUMNS)
            head_due = False
        told = zip(names, decisions.labels, decisions.confidences, decisions.abstained, strict=True)
        for name, label, confidence, abstained in told:
            values: tuple[Any, ...] = (name, str(label), round(float(confidence), 6), bool(abstained))
            if as_json:
                stream.write(json.dumps(dict(zip(_COLUMNS, values, strict=True)), ensure_ascii=False) + "\n")
            else:
                table.writerow((*values[:3], "true" if abstained else "false"))

    return write


if __name__ == "__main__":
    sys.exit(main())
