"""A description of data with a ready ``data:`` block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

FROM_THE_DATA = (
    "The constants in this block (ranges, vocabularies, imputation) come from the data itself: using them is a release "
    "that no guarantee covers. Replace them by public knowledge (a codebook, limits of the domain) where you can."
)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What was found; print it with ``rich``.

    Args:
        facts: (what, value).
        header, rows: a table of columns or arrays; empty where there is none.
        notes: sentences on what was guessed.
        source: the choice of the group ``data`` that the block builds on.
        keys: its keys, as YAML.
        fitted: whether some constants come from the data.
        model: a choice of the group ``model`` to try first.
        natural: whether the data says who the clients are.
    """

    facts: Sequence[tuple[str, str]]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    source: str
    keys: str
    fitted: bool
    model: str
    natural: bool

    @property
    def block(self) -> str:
        """YAML for a file NAME.yaml in a folder of one's own groups, chosen by ``data=NAME``."""
        told = "\n".join(f"# {line}" for line in self._warning())
        return f"{told}\ndefaults: [{self.source}, _self_]\n{self.keys}"

    def _warning(self) -> list[str]:
        import textwrap

        said = "Proposed by `fedpriv data describe`: look it through."
        return [said, *(textwrap.wrap(FROM_THE_DATA, 116) if self.fitted else [])]

    def __rich__(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="bold")
        for name, value in self.facts:
            facts.add_row(name, Text(value))
        parts: list[RenderableType] = [facts]
        if self.rows:
            table = Table(header_style="bold")
            for name in self.header:
                table.add_column(name)
            for row in self.rows:
                table.add_row(*map(Text, row))
            parts += ["", table]
        return Group(*parts, *(Text(f"* {note}") for note in self.notes))
