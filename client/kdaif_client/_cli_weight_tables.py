"""Tables of weights for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import typer
from rich.text import Text

from kdaif_client._cli_tables import show_table
from kdaif_client.weight_types import Difference, NameSummary, OverrideRevision, SampleWeight, WeightSummary

_SPREAD = ("mean", "least", "1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "most")


def show_weights(weights: Iterable[SampleWeight]) -> None:
    """One line for each sample."""
    rows = []
    for w in weights:
        harm = w.val_loss_change_if_upweighted
        rows.append(
            (
                w.id,
                f"{w.weight:.4f}",
                Text(f"{harm:+.3e}", "red" if harm > 0 else "green"),
                f"{w.stderr:.1e}",
                f"{w.pseudo_label} ({w.teacher_confidence:.0%})",
                f"{w.student_label} ({w.student_confidence:.0%})",
                w.truth or "",
            )
        )
    show_table(("ID", ">WEIGHT", ">LOSS IF UP", ">STDERR", "TEACHER", "STUDENT", "TRUTH"), rows, empty="No weights.")


def show_history(found: Mapping[str, Sequence[SampleWeight]]) -> None:
    """One line for each sample and round."""
    rows = [
        (
            w.id,
            str(w.round),
            f"{w.weight:.4f}",
            _signed(w.val_loss_change_if_upweighted),
            f"{w.z_influence:+.2f}",
            f"{w.z_agreement:+.2f}",
            f"{w.student_label} ({w.student_confidence:.0%})",
        )
        for rounds in found.values()
        for w in rounds
    ]
    headers = ("ID", ">ROUND", ">WEIGHT", ">LOSS IF UP", ">Z INFLUENCE", ">Z AGREEMENT", "STUDENT")
    show_table(headers, rows, empty="No weights.")


def show_summary(found: WeightSummary) -> None:
    """How weights are spread, then classes and groups, then where they come from."""
    typer.echo(
        f"round {found.round}: {found.rows:,} samples, worth {found.effective_sample_size:,.0f} equally weighted ones"
        + ("" if found.reliability is None else f"; reliability of influence {found.reliability:.2f}")
    )
    columns = found.columns.values() if found.rows else ()
    spread = [
        (name, *(f"{value:.4g}" for value in values))
        for name, *values in zip(_SPREAD, *((each.mean, *each.quantiles) for each in columns), strict=False)
    ]
    headers = ("OVER SAMPLES", *(f">{each.column.upper()}" for each in columns))
    show_table(headers, spread if columns else [], empty="No sample meets the filter.")
    show_table(
        ("COLUMN", "NAME", ">SAMPLES", ">MEAN WEIGHT", ">MEAN LOSS IF UP", ">UNDER 0.2"),
        [_name(each) for each in (*found.classes, *found.groups)],
        empty="",
    )
    if found.provenance is not None:
        made = found.provenance
        typer.echo(
            f"by attempt {made.attempt} of job {made.job}: solver {made.solver}, damping {made.damping:.3g}, "
            f"{made.blocks} blocks, seed {made.seed}, kdaif {made.version}"
        )
        if made.teacher_trust is not None:
            typer.echo(f"the teacher's own confidence is trusted at {made.teacher_trust:.0%}")


def show_overrides(revisions: Iterable[OverrideRevision]) -> None:
    """One line for each decision."""
    rows = []
    for revision in revisions:
        for each in revision.overrides:
            value = each.class_name or ("" if each.weight is None else f"{each.weight:g}")
            who, why = revision.author, revision.reason
            rows.append((str(revision.revision), each.id, each.decision, value, who, revision.time, why))
    headers = (">REVISION", "ID", "DECISION", "VALUE", "AUTHOR", "TIME", "REASON")
    show_table(headers, rows, empty="Nobody overruled a sample of this job. `kdaif override` does.")


def show_difference(found: Difference, limit: int | None) -> None:
    """Accuracy by arm, then the samples that changed most."""
    rows: list[tuple[str | Text, ...]] = [(arm, f"{100 * gain:+.1f} points") for arm, gain in found.accuracy.items()]
    show_table(("ARM", ">ACCURACY, SECOND LESS FIRST"), rows, empty="The two jobs have no arm in common.")
    typer.echo(f"{len(found.changes):,} of {found.shared:,} samples in both jobs changed")
    changes = [
        (each.id, f"{each.first:.4f}", f"{each.second:.4f}", each.first_label, each.second_label)
        for each in found.changes[:limit]
    ]
    headers = ("ID", ">FIRST WEIGHT", ">SECOND WEIGHT", "FIRST LABEL", "SECOND LABEL")
    show_table(headers, changes, empty="No sample weighs anything else.")


def _name(found: NameSummary) -> tuple[str | Text, ...]:
    return (
        found.column or "pseudo_label",
        found.name or "(none)",
        f"{found.rows:,}",
        f"{found.mean_weight:.3f}",
        _signed(found.mean_val_loss_change_if_upweighted),
        f"{found.low_weight_share:.1%}",
    )


def _signed(harm: float) -> Text:
    return Text(f"{harm:+.3e}", "red" if harm > 0 else "green")
