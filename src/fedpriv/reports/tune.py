"""What `fedpriv tune` tells people: a bar while it measures, then a table and a line to paste."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


@contextmanager
def measuring() -> Iterator[Callable[[float], None]]:
    """A bar on stderr, for the share of the time that has passed; nothing in a log."""
    console = Console(stderr=True)
    columns = TextColumn("measuring"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("measuring", total=1.0)
        yield lambda share: progress.update(task, completed=share)


def show_tuned(answer: Mapping[str, Any]) -> None:
    """Print what ``fedpriv.experiment.tune`` found, as ``Tuned.to_json`` gives it."""
    console = Console(highlight=False)
    tuning = {key: value for key, value in answer["tuning"].items() if value is not None and key != "formulation"}
    as_it_is = ", ".join(f"{key} {value}" for key, value in tuning.items())
    console.print(f"As it is: {as_it_is}.", soft_wrap=True)
    console.print(_table(answer["rows"], clients=answer["clients"]))
    for line in _verdict(answer):
        console.print(line, soft_wrap=True)


def _table(rows: Sequence[Mapping[str, Any]], *, clients: int) -> Table:
    table = Table(
        title="Seconds of local training",
        box=box.SIMPLE_HEAD,
        caption=f"{clients} clients in this process; ratio to the same as it is, median (least .. most) of the repeats",
    )
    table.add_column("tuning", overflow="fold")
    for heading in ("seconds", "ratio", "repeats"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        said = " ".join(f"{key}={value}" for key, value in row["overrides"].items())
        table.add_row(said or "as it is", f"{row['seconds']:.3g}", _ratio(row), str(row["repeats"]))
    return table


def _ratio(row: Mapping[str, Any]) -> str:
    return f"{row['ratio']:.2f} ({row['least']:.2f} .. {row['most']:.2f})"


def _verdict(answer: Mapping[str, Any]) -> Iterator[str]:
    better = answer["better"]
    if better is None:
        yield "The rules are as good: nothing was faster in every repeat."
    else:
        yield f"Faster in every repeat, {_ratio(better)} of the seconds, when measured once more:"
        yield f"  {' '.join(answer['overrides'])}"
        yield "A run with it is another run: tuning is part of the run id, and changes the last bits of the result."
    if not answer["complete"]:
        yield "There was not the time to measure all of it five times; --seconds=N gives more."
