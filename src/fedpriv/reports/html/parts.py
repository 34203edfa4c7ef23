"""Which figures each part of the page has, and what is said below them."""

from collections.abc import Iterator, Mapping, Sequence

from . import by_setting, clients, curves, groups
from .figures import Drawn, draw, on_paper
from .numbers import listed
from .panels import Panel
from .privacy_utility import MOST_SERIES, outside

PARTS: Mapping[str, Sequence[tuple[str, str, str]]] = {
    "answer": [
        (
            "privacy_utility",
            "Privacy and utility",
            "Means over seeds with 95 % intervals (Student's t, drawn as far as possible values go); faint dots are "
            "single seeds. Filled: on the Pareto front; hollow: another setting has no more epsilon and does better. "
            "What has no epsilon stands apart, and its mean is the dashed line.",
        )
    ],
    "curves": [
        ("learning_curves", "Learning curves", "Means over seeds; ribbons are 95 % intervals. Dashed: no guarantee."),
        ("epsilon_by_round", "Epsilon spent", "The most over seeds, as told while training: upper bounds."),
        (
            "train_loss",
            "Training loss",
            "A diagnostic: from training data, covered by no guarantee. What diverges leaves the figure.",
        ),
    ],
    "clients": [
        (
            "client_metric",
            "What clients get",
            "The final model on each client's own training data, quantiles over clients.",
        ),
        (
            "client_clip_rate",
            "Clip rate",
            "Share of a client's gradients (example level) or updates (client level) that were clipped.",
        ),
        ("client_epsilon", "Epsilon by client", "From the ledger, by Rényi DP; the guarantee is their maximum."),
    ],
    "groups": [
        (
            "group_gaps",
            "Differences between groups",
            "Largest minus smallest rate over the groups of the test set: of predictions of class 1 (demographic "
            "parity), of true and of false positives (equalised odds). Means over seeds, 95 % intervals.",
        ),
        ("group_accuracy", "Accuracy by group", "On the group's test examples. Means over seeds, 95 % intervals."),
    ],
    "measured": [
        (
            "claimed_and_measured",
            "Epsilon, claimed and measured",
            "Bars: what is proved, at most. Dots: what the canaries of each run show, at least.",
        ),
        (
            "attack_auc",
            "Attacks against epsilon",
            "How well each attack tells who was in the training data: 0.5 is chance. Means over seeds, 95 % intervals.",
        ),
        (
            "attack_roc",
            "ROC curves",
            "Share of members found at each share of false alarms, both logarithmic: what is found at few false alarms "
            "is what harms. One run of each setting, that of the lowest seed; dashed and straight: chance.",
        ),
    ],
    "responsible_privacy": [
        ("responsible_utility", "What the model is worth", "Mean over seeds, 95 % intervals. Tinted: no epsilon."),
        (
            "responsible_odds",
            "How right a guess may be",
            "Share of right guesses that the promise allows (was one used, or which of two?). Dashed: tossing a coin.",
        ),
    ],
    "responsible_attacks": [
        (
            "responsible_membership",
            "Who was in the data (AUC)",
            "Dashed: guessing.",
        ),
        (
            "responsible_attacks",
            "What else was tried",
            "Share of tries that succeed. Dashed, in the same colour: guessing, or the same run without the attack.",
        ),
    ],
    "responsible_fairness": [
        ("responsible_accuracy", "Test accuracy by group", "A group below the others is served worse."),
        ("responsible_gaps", "Differences between groups", "0: no difference. Largest minus smallest rate."),
    ],
    "seconds": [("seconds", "Where the seconds went", "")],
}
"""Part of the page -> its figures: name, title, caption."""


def figures_of(part: str, panel: Panel) -> Iterator[Drawn]:
    """The figures of a part of the page that these runs have."""
    for name, title, caption in PARTS[part]:
        chart = draw(name, panel)
        if chart is not None:
            caption = f"{caption} {_thinned(part, panel)}".strip()
            yield Drawn(f"figure_{name}{panel.key}", title, caption, chart, on_paper([panel]))


def _thinned(part: str, panel: Panel) -> str:
    """Says it, where a figure does not show all."""
    counted = {"curves": curves.drawn, "clients": clients.shown, "groups": by_setting.shown}
    counted["measured"] = by_setting.shown
    shown = len(counted[part](panel)) if part in counted else len(panel.settings)
    most = max(run.rounds.num_rows for run in panel.runs) if part == "curves" else 0
    said = []
    if shown < len(panel.settings):
        said.append(f"{shown} of {len(panel.settings)} settings: the Pareto front and the best without a guarantee.")
    if most > curves.MOST_ROUNDS:
        said.append(f"At most {curves.MOST_ROUNDS} rounds of each are drawn, spread evenly.")
    if part == "responsible_fairness" and groups.too_many(panel):
        said.append(f"Of the groups {groups.MOST_GROUPS} are drawn: the worst off, and those that lose most.")
    if part == "groups" and groups.too_many(panel):
        said.append(f"Of the groups the {groups.MOST_GROUPS} whose accuracy differs most between settings.")
    if part == "answer" and (diverged := [s.label for s in panel.settings if outside(panel, s)]):
        said.append(f"Far outside, and left out: {listed(diverged[:4])}{' and more' * (len(diverged) > 4)}.")
    if part == "answer" and len({setting.series for setting in panel.settings}) > MOST_SERIES:
        said.append("Only the best series have a colour; the others are points without a line.")
    return " ".join(said)
