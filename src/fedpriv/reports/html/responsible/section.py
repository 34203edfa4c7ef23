"""The panel as the page has it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..panels import Panel
from .attacks import attack_points
from .course import course
from .fairness import fairness_points
from .galleries import Gallery, any_galleries, galleries
from .point import Point
from .privacy import privacy_points
from .unmeasured import unmeasured
from .words import used


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the panel says of one group of like runs.

    Attributes:
        panel: its key.
        series: which settings it follows, where there are others.
        columns: title, key of its figures and statements: privacy, attacks, fairness.
        unmeasured: what nobody measured.
        galleries: what is shown of them.
        withheld: whether there are some, but nobody asked for them.
    """

    panel: str
    series: str
    columns: Sequence[tuple[str, str, Sequence[Point]]]
    unmeasured: Sequence[str]
    galleries: Sequence[Gallery]
    withheld: bool

    @property
    def texts(self) -> Iterable[str]:
        """All that it says."""
        for _, _, points in self.columns:
            for point in points:
                yield f"{point.about} {point.text}"
        yield from self.unmeasured


def section(panel: Panel, *, with_galleries: bool) -> Section | None:
    """What is to be said of these runs; None: none was attacked or audited, and no data name a group."""
    followed = course(panel)
    if followed is None:
        return None
    attacks, fairness = list(attack_points(followed)), list(fairness_points(followed))
    return Section(
        panel=panel.key,
        series="" if followed.series == "all" else followed.series,
        columns=(
            ("Privacy: what is promised, to whom", "responsible_privacy", list(privacy_points(followed))),
            (
                "Attacks: what an adversary got",
                "responsible_attacks",
                attacks or [Point("Nothing was tried.", "What an adversary would get is not known.")],
            ),
            (
                "Fairness: who pays",
                "responsible_fairness",
                fairness or [Point("Nothing was measured.", "Who pays is not known.")],
            ),
        ),
        unmeasured=list(unmeasured(followed)),
        galleries=list(galleries(followed)) if with_galleries else (),
        withheld=not with_galleries and any_galleries(followed),
    )


def glossary(sections: Iterable[Section], captions: Iterable[str]) -> Mapping[str, str]:
    """The technical words that the panel uses, explained."""
    return used([*(text for each in sections for text in each.texts), *captions])
