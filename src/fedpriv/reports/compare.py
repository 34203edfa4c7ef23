"""`fedpriv compare A B`: two runs, settings or sweeps side by side, in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedpriv.accounting.printed import rounded_up, upwards
from fedpriv.errors import InputError
from fedpriv.runs import Run, Runs, find_runs
from fedpriv.runs.cost import difference
from fedpriv.runs.settings import Setting, in_words
from fedpriv.runs.statistics import Difference, Interval, mean_interval
from fedpriv.runs.versus import Pairing, versus

_STATED = (
    "epsilon", "delta", "unit", "relation", "trust_model", "accountant", "sampling", "rounds", "releases",
    "noise_multiplier_min", "noise_multiplier_max", "simulation_only",
)  # fmt: skip
_GOT = ("auc", "tpr_at_1pct_fpr", "psnr", "success", "baseline")
_ATTACKED = "Empirical epsilon: at least so much. What these adversaries got, not what others may."


def compare(a: Path, b: Path) -> None:
    """Print how the runs in ``b`` differ from those in ``a``.

    Raises:
        InputError: one of them holds no finished run.
    """
    sides = _finished(a), _finished(b)
    found = versus(*sides)
    console = Console(highlight=False)
    for name, path, side in (("A", a, sides[0]), ("B", b, sides[1])):
        console.print(escape(f"{name}  {path}: {_counted(len(side), 'run')}"), soft_wrap=True)
        for other in side.others:
            console.print(escape(f"   left out: {other.path}: {other.reason}"), soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]Unlike:[/yellow] {escape(warning)}", soft_wrap=True)
    console.print(_config_table(found.config) if found.config else "Config: no key differs, seeds apart.")
    if len(found.pairings) > 1:
        console.print(_settings_table(found.pairings))
        return
    mine, theirs = found.pairings[0].a, found.pairings[0].b
    if mine is not None and theirs is not None:
        console.print(_metrics_table(mine, theirs))
        if attacked := _attacks_table(mine, theirs):
            console.print(attacked)
        console.print(_guarantees_table(mine, theirs))


def _finished(path: Path) -> Runs:
    runs = find_runs([path])
    if not runs:
        raise InputError(f"{path} holds no run that can be compared. {runs.others[0].path}: {runs.others[0].reason}")
    return runs


def _config_table(config: Mapping[str, tuple[tuple[Any, ...], tuple[Any, ...]]]) -> Table:
    table = Table("key", "A", "B", title="Config", box=box.SIMPLE_HEAD)
    for key, sides in config.items():
        table.add_row(escape(key), *(escape(", ".join(map(in_words, values))) for values in sides))
    return table


def _metrics_table(a: Setting, b: Setting) -> Table:
    first = [setting.runs[0].headline for setting in (a, b)]
    named = dict.fromkeys((*first, "test_loss", *(name for run in a.runs + b.runs for name in run.record.metrics)))
    public = [name for name in named if not name.startswith("diagnostic_")]
    table = Table(
        "metric",
        "A",
        "B",
        "B - A",
        "p",
        title="Metrics",
        box=box.SIMPLE_HEAD,
        caption=_caption([difference(b, a, metric=first[0])]),
    )
    for name in public:
        change = difference(b, a, metric=name) if name != "baseline" else None
        cells = (_mean(setting.measured(name)) for setting in (a, b))
        label = "best constant answer" if name == "baseline" else name.replace("_", " ")
        table.add_row(escape(label), *cells, _change(change), _p_value(change and change.p_value))
    return table


def _attacks_table(a: Setting, b: Setting) -> Table | None:
    """What audits showed and attacks got; None: nobody tried."""
    table = Table("measured", "A", "B", title="Audits and attacks", box=box.SIMPLE_HEAD, caption=_ATTACKED)
    names = dict.fromkeys(name for run in a.runs + b.runs for name in run.record.extra.get("attacks", {}))
    measures = {"audit.empirical_epsilon": _empirical_epsilon}
    measures |= {f"attacks.{name}.{key}": partial(_got, attack=name, key=key) for name in names for key in _GOT}
    for told, measure in measures.items():
        sides = [setting.read(measure) for setting in (a, b)]
        if any(sides):
            table.add_row(escape(told), *map(_mean, sides))
    return table if table.rows else None


def _empirical_epsilon(run: Run) -> float | None:
    found: float | None = (run.record.audited or {}).get("empirical_epsilon")
    return found


def _got(run: Run, *, attack: str, key: str) -> float | None:
    found: float | None = run.record.extra.get("attacks", {}).get(attack, {}).get(key)
    return found


def _settings_table(pairings: Sequence[Pairing]) -> Table:
    found = [setting for pairing in pairings for setting in (pairing.a, pairing.b) if setting is not None]
    names = dict.fromkeys(setting.runs[0].headline.replace("_", " ") for setting in found)
    holm = "\np: adjusted for the number of rows (Holm)." if any(p.p_holm is not None for p in pairings) else ""
    table = Table(title=escape(", ".join(names).capitalize()), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = _caption([pairing.difference for pairing in pairings]) + holm
    table.add_column("setting", overflow="fold")
    for heading in ("A", "B", "B - A", "p"):
        table.add_column(heading, no_wrap=True)
    for row in pairings:
        sides = ("-" if side is None else f"{_mean(side.by_seed)}\n{_epsilon(side)}" for side in (row.a, row.b))
        table.add_row(escape(row.label), *sides, _change(row.difference), _p_value(row.p_holm))
    return table


def _guarantees_table(a: Setting, b: Setting) -> Table:
    table = Table(
        "field", "A", "B", title="Guarantee", box=box.SIMPLE_HEAD,
        caption="Recomputed from the ledgers; of several runs that with the largest epsilon.",
    )  # fmt: skip
    sides = [_costliest(setting).guarantee for setting in (a, b)]
    if sides == [None, None]:
        table.add_row("epsilon", "none", "none")
        return table
    for key in _STATED:
        table.add_row(key.replace("_", " "), *(escape(_stated(side, key)) for side in sides))
    return table


def _costliest(setting: Setting) -> Run:
    """One without a claim costs more than any."""
    return max(setting.runs, key=lambda run: float("inf") if run.epsilon is None else run.epsilon)


def _stated(guarantee: Mapping[str, Any] | None, key: str) -> str:
    if guarantee is None:
        return "none" if key == "epsilon" else "-"
    value = guarantee[key]
    if key in ("epsilon", "delta"):
        return rounded_up(value) if key == "epsilon" else upwards(value, 3)
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_short(inner)}" for name, inner in value.items())
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else in_words(value)


def _epsilon(setting: Setting) -> str:
    return "no guarantee" if setting.epsilon is None else f"epsilon {rounded_up(setting.epsilon)}"


def _mean(values: Mapping[Any, float]) -> str:
    return _said(mean_interval(list(values.values())), "") if values else "-"


def _change(found: Difference | None) -> str:
    return "-" if found is None else _said(found.interval, "+")


def _said(found: Interval, sign: str) -> str:
    half = "" if found.high is None else f" \N{PLUS-MINUS SIGN} {found.high - found.mean:.4f}"
    return f"{found.mean:{sign}.4f}{half}"


def _p_value(p_value: float | None) -> str:
    return "-" if p_value is None else "<0.0001" if p_value < 1e-4 else f"{p_value:.4f}"


def _caption(changes: Sequence[Difference | None]) -> str:
    return "\n".join(_caption_lines(changes))


def _caption_lines(changes: Sequence[Difference | None]) -> Iterator[str]:
    known = [change.interval.n for change in changes if change is not None]
    if not known:
        yield "The two share no seed: no paired difference."
    elif max(known) == 1:
        yield "One shared seed: no interval, no test."
    else:
        shared = f"{min(known)} to {max(known)}" if min(known) < max(known) else f"{max(known)}"
        yield f"Means with 95 % intervals over seeds (Student's t). B - A: over {shared} shared seeds, paired t test."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
