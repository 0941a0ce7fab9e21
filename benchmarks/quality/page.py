"""The results as a page of Markdown: tables, figures, and a sentence for every promise that is not kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.quality.arms import DEFAULT, MORE_LABELS, ORACLE, PRODUCT_ARMS, RIVALS, STABILITY, SUPERVISED, UNIFORM
from benchmarks.quality.summary import ConditionSummary, Duel, duels, minority_holds

_FIGURES_WANTED = {
    "oracle_gap_recovered_noisy": ">= .85",
    "worst_condition_minus_uniform_points": ">= -.3",
    "rivals_beaten_share": "1",
    "overhead_ratio": "<= .15",
    "loo_pearson_logreg": ">= .95",
    "exact_spearman_mlp": ">= .95",
    "lds": "reported",
    "real_weak_minus_uniform_points_min": "> 0",
    "minority_clean_weight": ">= .9",
}
_SIGNIFICANT_OVER = (UNIFORM, "confidence threshold", "SoftMatch", "Meta-Weight-Net", "small loss", "cleanlab filter")
_PSEUDO_LABELS = {
    "weak": "of rules, people or a larger model",
    "clean": "of a teacher trained on the same labels",
    "planted": "the same, corrupted on purpose",
}
_ALONE_ARMS = (DEFAULT, UNIFORM, ORACLE)
_WHAT = {
    MORE_LABELS: "uniform+V+G",
    "confidence threshold": "threshold",
    "learning to reweight": "L2RW",
    "Meta-Weight-Net": "MWN",
    "cleanlab filter": "cleanlab",
    "shuffled weights": "shuffled",
}


def main_table(conditions: Sequence[ConditionSummary]) -> list[str]:
    """One line per condition; the same on the terminal and on the page."""
    head = ("data", "teacher's errors", "wrong", "supervised", "uniform", "**influence**", "oracle", "best rival")
    more = ("points over uniform", "worst seed", "gap closed", "AUROC", "AUPRC", "ESS", "overhead")
    return _table((*head, *more), [_main_line(condition) for condition in conditions])


def _main_line(condition: ConditionSummary) -> list[str]:
    arms = condition.arms
    ours, uniform = arms[DEFAULT], arms[UNIFORM]
    rivals = {arm: arms[arm].mean["accuracy"] for arm in RIVALS if arm in arms}
    best = max(rivals, key=lambda arm: rivals[arm], default=None)
    recovered = condition.recovered
    return [
        condition.data_set,
        condition.condition,
        f"{100 * ours.mean['wrong_share']:.0f} %",
        _share(arms[SUPERVISED].mean["accuracy"]) if SUPERVISED in arms else "",
        _share(uniform.mean["accuracy"]),
        f"**{_share(ours.mean['accuracy'])}**",
        _share(arms[ORACLE].mean["accuracy"]),
        "" if best is None else f"{_WHAT.get(best, best)} {_share(rivals[best])}",
        f"{condition.points_over(UNIFORM):+.1f}",
        f"{_share(ours.worst_seed['accuracy'])} / {_share(uniform.worst_seed['accuracy'])}",
        "" if recovered is None else f"{100 * recovered:.0f} %",
        _share(ours.mean.get("auroc")),
        _share(ours.mean.get("auprc")),
        _share(ours.mean.get("ess")),
        _share(ours.mean["weighing_seconds"] / ours.mean["train_seconds"]),
    ]


def page(
    conditions: Sequence[ConditionSummary],
    figures: Mapping[str, float],
    left_out: Mapping[str, str],
    *,
    machine: str,
    commit: str,
    quick: bool,
) -> str:
    """The whole page."""
    seeds = max(len(condition.arms[UNIFORM].accuracies) for condition in conditions)
    made = "make bench-quality QUICK=1" if quick else "make bench-quality"
    lines = [
        "# Quality: does influence weighting beat uniform distillation and its rivals?",
        "",
        f"Made by `{made}` at commit `{_short(commit)}`, {seeds} seeds, on {machine}."
        + (" A cut of the full run: fewer data sets, conditions and seeds." if quick else ""),
        "",
        "## What does not hold",
        "",
        *_shortfalls(conditions, figures),
        "",
        "## Figures",
        "",
        *_table(("figure", "value", "wanted"), _figure_lines(figures)),
        "",
        *_real_weak_lines(conditions),
        "## By condition",
        "",
        "Test accuracy, mean over seeds. *Gap closed* is the share of the oracle's gain over uniform that influence",
        "reaches, where the oracle gains a point or more. AUROC and AUPRC say how well the final weight finds wrong",
        "pseudo-labels, ESS how many rows the weights are worth as a share of all, overhead is influence seconds over",
        "training seconds. *Worst seed* is that of influence / of uniform.",
        "",
        *main_table(conditions),
        "",
        "## Duels",
        "",
        "Influence against each other arm over all conditions with planted or real wrong labels. The p-value is of a",
        "two-sided sign-flip test over pairs of equal condition and seed.",
        "",
        *_table(
            ("influence against", "points", "p", "conditions won"), [_duel_line(duel) for duel in duels(conditions)]
        ),
        "",
        "## Beside the labels alone",
        "",
        "Points of influence, of uniform and of the oracle over the supervised arm, which trains on the labels and",
        "never sees the pool: means, and in how many conditions influence is above it.",
        "",
        *_table(
            ("pseudo-labels", "conditions", "influence", "uniform", "oracle", "influence is above in"),
            _alone_lines(conditions),
        ),
        "",
        "A teacher that was trained on the same labels knows nothing that they do not say: where its labels are then",
        "corrupted, weighting repairs the harm and no more. Pseudo-labels that bring something new are worth it.",
        "",
        "## Rivals by condition",
        "",
        *_rival_table(conditions),
        "",
        "## Beyond accuracy",
        "",
        "Influence, and in brackets its difference to uniform; ECE is better low. *Stability* is the rank correlation",
        "of the last weights of two arms on the same rows that differ in their training seed alone (one split).",
        "",
        *_beyond_table(conditions),
        "",
        *_left_out_lines(left_out),
        *_HOW,
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figure_lines(figures: Mapping[str, float]) -> list[list[str]]:
    return [
        [f"`{name}`", f"{figures[name]:.3f}" if name in figures else "not measured", _FIGURES_WANTED.get(name, "")]
        for name in dict.fromkeys((*_FIGURES_WANTED, *figures))
    ]


def _real_weak_lines(conditions: Sequence[ConditionSummary]) -> list[str]:
    """Which sets `real_weak_minus_uniform_points_min` is about, and which it is not."""
    points = {
        condition.data_set: condition.points_over(UNIFORM) for condition in conditions if condition.kind == "weak"
    }
    real = [condition.data_set for condition in conditions if condition.has_real_weak_labels]
    others = [f"{name} ({value:+.1f} points)" for name, value in points.items() if name not in real]
    if not real:
        return []
    told = [f"`real_weak_minus_uniform_points_min` is of sets that rules or people labelled: {', '.join(real)}."]
    if others:
        told.append(f"The pseudo-labels of {', '.join(others)} are a trained model's: it counts in all other figures,")
        told.append("and not in that one.")
    return [*told, ""]


def _shortfalls(conditions: Sequence[ConditionSummary], figures: Mapping[str, float]) -> list[str]:
    """One sentence for each promise of the project that these figures do not keep, and for what they do not show."""
    found: list[str] = []
    recovered = figures.get("oracle_gap_recovered_noisy", 0.0)
    if recovered < 0.85:
        found.append(
            f"Under planted corruption influence closes {100 * recovered:.0f} % of the oracle's gap, not 85 %."
        )
    by_arm = {duel.arm: duel for duel in duels(conditions)}
    better = [duel for duel in by_arm.values() if duel.points <= 0 and duel.arm in RIVALS]
    if better:
        told = ", ".join(f"{duel.arm} by {-duel.points:.2f} points" for duel in better)
        found.append(f"Over all noisy conditions the mean is beaten or equalled by {told}.")
    weak = [by_arm[arm] for arm in _SIGNIFICANT_OVER if by_arm[arm].p_value >= 0.05 or by_arm[arm].points <= 0]
    if weak:
        told = ", ".join(f"{duel.arm} ({duel.points:+.2f}, p = {duel.p_value:.3f})" for duel in weak)
        found.append(f"It is not significantly above {told}.")
    for condition in conditions:
        points = condition.points_over(UNIFORM)
        if points < -0.3:
            found.append(f"On {condition.data_set}, {condition.condition}, it is {-points:.1f} points under uniform.")
        if condition.has_real_weak_labels and points <= 0:
            found.append(
                f"On the real weak labels of {condition.data_set} it is not above uniform ({points:+.1f} points)."
            )
        if condition.kind == "minority" and not minority_holds(condition):
            found.append(f"On {condition.data_set} the worst class falls below uniform's interval.")
    if figures["overhead_ratio"] > 0.15:
        found.append(f"Overhead is {figures['overhead_ratio']:.2f}, above .15.")
    for name in ("loo_pearson_logreg", "exact_spearman_mlp"):
        if figures.get(name, 0.0) < 0.95:
            found.append(f"`{name}` is {figures.get(name, 0.0):.3f}, below .95.")
    if figures.get("minority_clean_weight", 0.0) < 0.9:
        found.append(f"Clean minority rows weigh {figures.get('minority_clean_weight', 0.0):.2f} on average, below .9.")
    more = by_arm[MORE_LABELS]
    if more.points <= 0:
        found.append(
            f"Spending the held-out labels on training instead (uniform, V and G trained on) is {-more.points:.2f} "
            "points better over the noisy conditions; it leaves no label to score or judge with."
        )
    if worse := {
        f"{condition.data_set}, {condition.condition}": points
        for condition in conditions
        if SUPERVISED in condition.arms and (points := condition.points_over(SUPERVISED)) < 0
    }:
        worst = min(worse, key=lambda name: worse[name])
        beside = sum(SUPERVISED in condition.arms for condition in conditions)
        found.append(
            f"In {len(worse)} of {beside} conditions training on the labels alone does better, by {-worse[worst]:.1f} "
            f"points at most ({worst}): see [beside the labels alone](#beside-the-labels-alone)."
        )
    return [f"- {sentence}" for sentence in found] or ["- Every promise holds on these conditions."]


def _duel_line(duel: Duel) -> list[str]:
    return [duel.arm, f"{duel.points:+.2f}", f"{duel.p_value:.4f}", f"{duel.conditions_won} of {duel.conditions}"]


def _alone_lines(conditions: Sequence[ConditionSummary]) -> list[list[str]]:
    lines = []
    for kind, called in _PSEUDO_LABELS.items():
        of_kind = [each for each in conditions if each.kind == kind and SUPERVISED in each.arms]
        if of_kind:
            points = {arm: [each.points_over(SUPERVISED, of=arm) for each in of_kind] for arm in _ALONE_ARMS}
            means = [f"{sum(values) / len(values):+.1f}" for values in points.values()]
            lines.append([called, str(len(of_kind)), *means, str(sum(value > 0 for value in points[DEFAULT]))])
    return lines


def _rival_table(conditions: Sequence[ConditionSummary]) -> list[str]:
    arms = [DEFAULT, *RIVALS, MORE_LABELS]
    full = [condition for condition in conditions if MORE_LABELS in condition.arms]
    lines = []
    for condition in full:
        accuracies = [condition.arms[arm].mean["accuracy"] for arm in arms]
        best = max(accuracies[:-1])
        marked = [f"**{_share(value)}**" if value == best else _share(value) for value in accuracies]
        lines.append([f"{condition.data_set}, {condition.condition}", *marked])
    return _table(("condition", *(_WHAT.get(arm, arm) for arm in arms)), lines)


def _beyond_table(conditions: Sequence[ConditionSummary]) -> list[str]:
    measures = ("macro_f1", "worst_class", "worst_group", "ece")
    lines = []
    for condition in conditions:
        ours, uniform = condition.arms[DEFAULT].mean, condition.arms[UNIFORM].mean
        told = [
            f"{_share(ours[name])} ({100 * (ours[name] - uniform[name]):+.1f})" if name in ours else ""
            for name in measures
        ]
        again = condition.arms.get(STABILITY)
        stability = _share(again.mean["stability"]) if again is not None else ""
        lines.append([f"{condition.data_set}, {condition.condition}", *told, stability])
    return _table(("condition", "macro F1", "worst class", "worst group", "ECE", "stability"), lines)


def _left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    if not left_out:
        return []
    return ["Left out:", "", *(f"- {name}: {reason}" for name, reason in left_out.items()), ""]


def _short(commit: str) -> str:
    """Twelve digits, and whether the tree differed from it."""
    return commit[:12] + ("+changes" if commit.endswith("+changes") else "")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[at]) for line in (head, *lines)) for at in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [row(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *(row(line) for line in lines)]


_HOW = [
    "## How it is measured",
    "",
    f"- Arms: {', '.join(PRODUCT_ARMS)} by `kdaif.rounds.train_arm` with every setting at its default; the rivals by",
    "  the same loop, parameters, rows, order and steps, with other weights. A seed fixes the split, the corruption,",
    "  the teacher and the initial parameters.",
    "- 100 labels to train on (200 for Fashion-MNIST, banking77 and CIFAR-10), 100 to hold out: 80 score the rows, 20",
    "  have no say in the weights.",
    "- The teacher is trained on the few labels, or is what came with the data: a majority of rules (TREC, SMS,",
    "  YouTube) or one person (CIFAR-10N), read as one-hot, or the logits of a ResNet-56. Texts",
    "  are tf-idf reduced to 100 dimensions, banking77 and SST-2 embeddings of a MiniLM, CIFAR-10 answers of random",
    "  patches; nothing is fitted on test rows.",
    "- Small loss is told the true share of wrong pseudo-labels, which no job knows. SoftMatch, FreeMatch, GCE, small",
    "  loss, Meta-Weight-Net and learning to reweight renew their weights four times an epoch; the last two use all",
    "  100 held-out labels. cleanlab reads a logistic regression cross-validated on the same features.",
    "- The notebook's rule is exp of influence over its standard deviation, after each round. *Agreement alone* and",
    "  *influence alone* are the default with one of its two signals.",
    "- Of the influence arm's overhead, scoring and the scout (three passes on labels) are both counted.",
]
