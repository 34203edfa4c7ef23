"""One run, in the terminal: what it is, what it reached, what it guarantees."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedpriv.accounting.guarantee import in_words
from fedpriv.accounting.printed import rounded_up, upwards
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.records.tables import read_table

_ROUNDS_SHOWN = 12
_POINTS_SHOWN = 6


def headline(record: RunRecord) -> Iterator[str]:
    """The answer in a few plain lines."""
    name = _headline_metric(record)
    value, loss, baseline = (record.metrics.get(key) for key in (name, "test_loss", "baseline"))
    status = record.status.replace("_", " ")
    took = f", {record.seconds:.1f} s" if record.seconds else ""
    yield f"{record.name} ({record.run_id}): {status}, {record.rounds} rounds{took}"
    if value is not None and loss is not None:
        constant = "" if baseline is None else f" (the best constant answer: {baseline:.4f})"
        yield f"{_readable(name).capitalize()} {value:.4f}{constant}, test loss {loss:.4f}"
    if value is None:
        yield from _own_examples(record, name.removeprefix("test_"))
    guarantee = record.guarantee
    if guarantee is None and record.status == "running":
        yield "Guarantee: none yet, the run has not ended."
        return
    if guarantee is None:
        yield "Guarantee: none. Nothing is claimed about this run."
        return
    for stated in record.guarantees:
        yield (
            f"Guarantee: epsilon {rounded_up(stated['epsilon'])} at delta {upwards(stated['delta'], 3)}; "
            f"unit {stated['unit']}, relation {stated['relation']}, trust model {stated['trust_model']}, "
            f"accountant {stated['accountant']}"
        )


def _own_examples(record: RunRecord, metric: str) -> Iterator[str]:
    """Where there is no global model to test: what personal layers reach."""
    for kind, where in (("client_holdout", "examples that they kept back"), ("client", "the examples they trained on")):
        mean = record.metrics.get(f"diagnostic_{kind}_{metric}_mean")
        if mean is not None:
            yield f"{_readable(metric).capitalize()} of clients on {where}: mean {mean:.4f} (a diagnostic)"
            return


def _headline_metric(record: RunRecord) -> str:
    return str(record.extra.get("task", {}).get("headline", "test_accuracy"))


def _readable(metric: str) -> str:
    return metric.replace("_", " ")


def show(path: Path) -> None:
    """Print the run in ``path``.

    Raises:
        InputError: no run folder, or a damaged one.
    """
    folder = RunFolder(path)
    record = folder.read_run_json()
    console = Console(highlight=False)
    for line in headline(record):
        console.print(escape(line), soft_wrap=True)
    if record.error:
        console.print(f"Error: {escape(record.error)}", soft_wrap=True)
    console.print()
    rounds = read_table(path, "rounds").to_pylist()
    if rounds:
        console.print(_rounds_table(rounds, headline_metric=_headline_metric(record)))
    for line in _attacks(record):
        console.print(escape(line), soft_wrap=True)
    for stated in record.guarantees:
        console.print(_guarantee_table(stated))
        if matrix := stated.get("threat_matrix"):
            console.print(_threat_table(matrix))
        console.print()
        console.print(escape(in_words(stated)), soft_wrap=True)


def _attacks(record: RunRecord) -> Iterator[str]:
    found = record.extra.get("attacks", {})
    if found:
        from fedpriv import attacks  # imports torch

        yield "Attacks (diagnostics: what these adversaries got, not what others may)"
        yield from (f"  {attacks.in_words(name, one)}" for name, one in found.items())
        yield ""


def _rounds_table(rounds: list[Mapping[str, Any]], *, headline_metric: str) -> Table:
    table = Table(
        title="Rounds",
        box=box.SIMPLE_HEAD,
        padding=0,
        caption="train loss: a diagnostic, from training data. epsilon: spent so far, at most.",
    )
    columns = {
        "round": "round",
        "cohort": "cohort",
        "replied": "replied",
        "failed": "failed",
        "train loss": "diagnostic_train_loss",
        _readable(headline_metric): headline_metric,
        "test loss": "test_loss",
        "epsilon": "epsilon",
        "seconds": "seconds",
    }
    for heading in columns:
        table.add_column(heading, justify="right")
    step = max(1, -(-len(rounds) // _ROUNDS_SHOWN))
    for row in [*rounds[:-1][::step], rounds[-1]]:
        table.add_row(*(_said(key, row.get(key)) for key in columns.values()))
    return table


def _guarantee_table(guarantee: Mapping[str, Any]) -> Table:
    table = Table(title="Guarantee", box=box.SIMPLE, show_header=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    for key, value in guarantee.items():
        if key == "curve":
            value = _curve(value)
        if key != "threat_matrix":
            table.add_row(key.replace("_", " "), escape(_said(key, value)))
    return table


def _said(key: str, value: Any) -> str:
    """What bounds something is not printed below its value."""
    return upwards(value, 6) if key in ("epsilon", "delta") and value is not None else _readable_value(value)


def _readable_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_readable_value(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(str(item) for item in value)
    return _text(value)


def _curve(curve: Mapping[str, Any]) -> str:
    """Every so manyth point; ``guarantee.md`` has them all."""
    points = curve["points"]
    some = points[:: max(1, len(points) // _POINTS_SHOWN)]
    pairs = ", ".join(f"{upwards(point['delta'], 2)} at {upwards(point['epsilon'], 4)}" for point in some)
    return f"{pairs}; by {curve['method']}"


def _threat_table(cells: list[Mapping[str, Any]]) -> Table:
    table = Table(
        title="Epsilon against whom",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        caption="none: no guarantee. Why, and by which proof: guarantee.md.",
    )
    table.add_column("unit", no_wrap=True)
    observers = list(dict.fromkeys(cell["observer"] for cell in cells))
    for observer in observers:
        table.add_column(observer.replace("_", " "), justify="right")
    for unit in dict.fromkeys(cell["unit"] for cell in cells):
        found = {cell["observer"]: cell for cell in cells if cell["unit"] == unit}
        relations = dict.fromkeys(cell["relation"] for cell in found.values() if cell["relation"])
        epsilons = (found[observer]["epsilon"] for observer in observers)
        table.add_row(
            "\n".join([unit, *relations]), *("none" if e is None else rounded_up(e) for e in epsilons)
        )
    return table


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
