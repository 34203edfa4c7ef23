"""What was found in some folders: runs to compare, and folders that cannot be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, final, overload

from fedpriv.accounting.printed import rounded_up, upwards

from .run import Run
from .settings import choices, swept_keys

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class Unread:
    """A run folder that is not compared, and why: unfinished, failed, damaged, or stating what it did not earn.

    ``status`` is that of its ``run.json``, None where there is none to be read.
    """

    path: Path
    status: str | None
    reason: str


@final
@dataclass(frozen=True)
class Runs(Sequence[Run]):
    """Runs as a sequence; ``others`` are the folders that were left out."""

    runs: tuple[Run, ...]
    others: tuple[Unread, ...]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    def __getitem__(self, index: int | slice) -> "Run | Runs":
        return Runs(self.runs[index], self.others) if isinstance(index, slice) else self.runs[index]

    def __repr__(self) -> str:
        return f"Runs({len(self.runs)} read, {len(self.others)} others)"

    def to_frame(self) -> "pd.DataFrame":
        """A row a run, with a column for every config key that differs between them, seeds apart.

        ``epsilon`` and the rest of the guarantee are missing (NaN, None) where nothing is claimed.
        """
        import pandas as pd

        swept, told = swept_keys(self.runs), ("epsilon", "delta", "unit", "relation", "accountant")
        headlines = dict.fromkeys(run.headline for run in self.runs)
        columns = ("run_id", "name", "seed", *swept, *told, *headlines, "baseline", "test_loss", "seconds", "path")
        return pd.DataFrame(
            [
                {
                    "run_id": run.record.run_id,
                    "name": run.record.name,
                    "seed": run.record.seed,
                    **choices(run, swept),
                    **{key: (run.guarantee or {}).get(key) for key in told},
                    **{key: run.record.metrics.get(key) for key in (*headlines, "baseline", "test_loss")},
                    "seconds": run.record.seconds,
                    "path": str(run.path),
                }
                for run in self.runs
            ],
            columns=list(dict.fromkeys(columns)),
        )

    def _repr_html_(self) -> str:
        """For notebooks: the frame, and under it what was left out."""
        frame = self.to_frame().drop(columns="path").astype(object)
        printed = {"epsilon": rounded_up, "delta": lambda delta: upwards(delta, 3)}
        for key, say in printed.items():  # what bounds something is not printed below its value
            frame[key] = [say(value) if value == value and value is not None else "none" for value in frame[key]]
        left_out = "".join(f"<li>{escape(str(o.path))}: {escape(o.reason)}</li>" for o in self.others)
        listed = f"<p>Left out:</p><ul>{left_out}</ul>" if left_out else ""
        return f"{frame.to_html(index=False, escape=True)}{listed}"
