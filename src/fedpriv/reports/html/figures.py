"""The figures by name, for one group of like runs or for all of them, one below the other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import altair as alt

from fedpriv.errors import InputError
from fedpriv.runs import Run

from .clients import client_clip_rate, client_epsilon, client_metric
from .curves import epsilon_by_round, learning_curves, train_loss
from .groups import group_accuracy, group_gaps
from .measured import attack_auc, attack_roc, claimed_and_measured
from .panels import Panel, panels
from .privacy_utility import privacy_utility
from .responsible.charts import (
    responsible_accuracy,
    responsible_attacks,
    responsible_gaps,
    responsible_membership,
    responsible_odds,
    responsible_utility,
)
from .theme import on_white
from .timing import seconds

_WIDTH, _HEIGHT, _SMALL_HEIGHT = 640, 330, 190

FIGURES: Mapping[str, Callable[[Panel], alt.LayerChart | None]] = MappingProxyType(
    {
        "privacy_utility": privacy_utility,
        "learning_curves": learning_curves,
        "train_loss": train_loss,
        "epsilon_by_round": epsilon_by_round,
        "client_metric": client_metric,
        "client_clip_rate": client_clip_rate,
        "client_epsilon": client_epsilon,
        "group_gaps": group_gaps,
        "group_accuracy": group_accuracy,
        "claimed_and_measured": claimed_and_measured,
        "attack_auc": attack_auc,
        "attack_roc": attack_roc,
        "responsible_utility": responsible_utility,
        "responsible_odds": responsible_odds,
        "responsible_membership": responsible_membership,
        "responsible_attacks": responsible_attacks,
        "responsible_accuracy": responsible_accuracy,
        "responsible_gaps": responsible_gaps,
        "seconds": seconds,
    }
)
_SMALL = "responsible_"
"""How figures begin that stand side by side."""


def figure(name: str, runs: Iterable[Run]) -> alt.TopLevelMixin:
    """An Altair chart of runs; one chart for each group of like runs, titled, where not all are alike.

    Args:
        name: one of ``FIGURES``.
        runs: such as ``fedpriv.load`` gives.

    Raises:
        InputError: no such figure, no runs, or these runs have nothing to draw in it.
    """
    if name not in FIGURES:
        raise InputError(f"There is no figure {name!r}. Use one of {', '.join(FIGURES)}.")
    groups = panels(list(runs))
    drawn = [(panel, chart) for panel in groups if (chart := draw(name, panel)) is not None]
    if not drawn:
        raise InputError(f"These runs have nothing to draw in {name}.")
    if len(groups) == 1:
        return drawn[0][1].configure(**on_paper(groups))
    titled = (chart.properties(title=panel.title) for panel, chart in drawn)
    return alt.vconcat(*titled).resolve_scale(color="independent").configure(**on_paper(groups))


def draw(name: str, panel: Panel) -> alt.LayerChart | None:
    """The figure for one group of like runs; None where they have nothing to draw in it."""
    chart = FIGURES[name](panel)
    height = _SMALL_HEIGHT if name.startswith(_SMALL) else _HEIGHT
    return None if chart is None else chart.properties(width=_WIDTH, height=height)


def on_paper(panels: Iterable[Panel]) -> dict[str, Any]:
    """The look of figures of these panels in files and notebooks."""
    return on_white((setting.label for panel in panels for setting in panel.settings), width=_WIDTH)


@dataclass(frozen=True)
class Drawn:
    """A figure of a report; ``on_white`` is its look in a file."""

    key: str
    title: str
    caption: str
    chart: alt.LayerChart
    on_white: Mapping[str, Any]
