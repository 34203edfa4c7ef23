"""What a plan answers, for people: a table of what is feasible, and a picture of it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from fedpriv.accounting.planner import KEYS, Plan
from fedpriv.accounting.printed import rounded_up, upwards
from fedpriv.errors import DataError

_NOISE_STEPS, _ROUND_STEPS = (0.5, 0.5**0.5, 1.0, 2**0.5, 2.0), (0.25, 1.0, 4.0)
_CURVE_POINTS = 17
_MOST_ROUNDS = 10_000_000


def show_plan(plan: Plan) -> None:
    """Print the answer, what it means, and epsilon around it."""
    console = Console(highlight=False)
    console.print(_answer(plan))
    for line in _in_words(plan):
        console.print(line, soft_wrap=True)
    console.print(_feasible(plan))


def _answer(plan: Plan) -> Table:
    units, summed, releases = KEYS[plan.request.unit]
    accounting = plan.accounting
    this = {
        units: f"{plan.request.population:,}",
        summed: f"{plan.cohort:,g}",
        releases: f"{plan.rounds:,}",
        "sampling": f"{plan.law.kind}, rate {plan.law.rate:.4g}",
        "relation": accounting.relation,
        "accountant": f"{accounting.accountant}: {plan.method}",
        "delta": f"{upwards(accounting.delta, 4)} ({plan.delta_rule})",
        "noise_multiplier": f"{plan.noise_multiplier:.6g}",
        "epsilon": rounded_up(plan.epsilon),
    }
    table = Table(title=f"Plan, {plan.request.unit} level", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("this plan", overflow="fold")
    columns = [this]
    for heading, column in _deployed(plan).items():
        table.add_column(heading, overflow="fold")
        columns.append(column)
    found = {"cohort": summed, "rounds": releases}.get(plan.solved_for, plan.solved_for)
    for key in this:
        table.add_row(key, *(column.get(key, "as here") for column in columns), style="bold" if key == found else "")
    return table


def _deployed(plan: Plan) -> dict[str, dict[str, str]]:
    """Columns of the deployment that the plan stands for."""
    deployment = plan.deployment
    if deployment is None:
        return {}
    shared = {
        "population": f"{deployment.population:,}",
        "cohort": f"{deployment.cohort:,}",
        "sampling": f"{plan.law.kind}, rate {deployment.rate:.4g}",
        "delta": upwards(deployment.delta, 4),
    }
    return {
        f"deployment, {how} (extrapolated)": {**shared, "noise_multiplier": f"{z:.6g}", "epsilon": rounded_up(epsilon)}
        for how, z, epsilon in (
            ("same noise multiplier", deployment.noise_multiplier, deployment.same_noise_multiplier),
            ("same noise on the mean", deployment.scaled_noise_multiplier, deployment.scaled),
        )
    }


def _in_words(plan: Plan) -> list[str]:
    summed = KEYS[plan.request.unit][1]
    said = [f"Note: {note}." for note in plan.notes]
    if (signal := plan.signal) is not None:
        said.append(
            f"Signal to noise of one release: at most {signal.most:.3g} with {signal.parameters:,} parameters, were "
            f"every update at the clipping norm and all agreed; a {summed} of {signal.cohort_for_one:,} makes it 1."
        )
    if plan.deployment is not None:
        said.append(
            "Deployment: what it would earn in as many rounds, with the same noise multiplier (the mean of a larger "
            "cohort is then less noisy), or with as much noise on the mean. An extrapolation, no guarantee of any run."
        )
    return said


def _feasible(plan: Plan) -> Table:
    _, _, releases = KEYS[plan.request.unit]
    noise = [plan.noise_multiplier * step for step in _NOISE_STEPS]
    rounds = sorted({min(max(1, round(plan.rounds * step)), _MOST_ROUNDS) for step in _ROUND_STEPS})
    limit = plan.epsilon if plan.target is None else plan.target
    table = Table(
        title=f"epsilon by noise multiplier and {releases}",
        box=box.SIMPLE_HEAD,
        caption=f"bold: at most {limit:.4g}. Around the plan itself: upper bounds from coarser curves.",
    )
    table.add_column(releases, justify="right")
    for z in noise:
        table.add_column(f"{z:.4g}", justify="right")
    for times, row in zip(rounds, plan.around(noise_multipliers=noise, rounds=rounds), strict=True):
        if times == plan.rounds:
            row[_NOISE_STEPS.index(1.0)] = plan.epsilon
        cells = [f"[bold]{_short(value)}[/]" if value <= limit else _short(value) for value in row]
        table.add_row(f"{times:,}", *cells)
    return table


def _short(value: float) -> str:
    """Three digits, never below the value."""
    if not 0 < value < math.inf:
        return str(value)
    digits = 2 - math.floor(math.log10(value))
    return f"{math.ceil(value * 10.0**digits - 1e-9) / 10.0**digits:.4g}"


def draw_plan(plan: Plan, path: Path) -> None:
    """Write a PNG: epsilon against noise multiplier and against rounds, and what stays within the budget.

    Raises:
        DataError: the file can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    _, summed, releases = KEYS[plan.request.unit]
    limit = plan.epsilon if plan.target is None else plan.target
    spread = [4 ** (i / (_CURVE_POINTS // 2) - 1) for i in range(_CURVE_POINTS)]
    noise = [plan.noise_multiplier * step for step in spread]
    rounds = sorted({min(max(1, round(plan.rounds * step**2)), _MOST_ROUNDS) for step in spread})
    by_noise = plan.around(noise_multipliers=noise, rounds=[plan.rounds])[0]
    by_rounds = [row[0] for row in plan.around(noise_multipliers=[plan.noise_multiplier], rounds=rounds)]

    figure = Figure(figsize=(10, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"{plan.law.kind}, {summed} {plan.cohort:,g} of {plan.request.population:,}, "
        f"delta {upwards(plan.accounting.delta, 3)}, {plan.accounting.relation}",
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    left, right = figure.subplots(1, 2)
    for axes, across, values, here, feasible, label in (
        (left, noise, by_noise, plan.noise_multiplier, noise[-1], f"noise multiplier ({plan.rounds:,} {releases})"),
        (right, rounds, by_rounds, plan.rounds, rounds[0], f"{releases} (noise {plan.noise_multiplier:.4g})"),
    ):
        shown = [value if 0 < value < math.inf else math.nan for value in values]
        axes.loglog(across, shown, color="#4c72b0")
        axes.axhline(limit, color="#666666", linestyle="--", linewidth=1, label=f"epsilon {limit:.4g}")
        # the plan's epsilon is within the limit, and more noise or fewer rounds only lower it
        axes.axvspan(here, feasible, color="#4c72b0", alpha=0.1, linewidth=0, label="feasible")
        axes.plot([here], [plan.epsilon], "o", color="#222222", label="this plan")
        axes.set(xlabel=label, ylabel="epsilon")
        axes.spines[["top", "right"]].set_visible(False)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
            axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
            axis.set_minor_formatter(NullFormatter())
    left.legend(frameon=False)
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise DataError(f"Cannot write the picture {path}: {error.strerror or error}.") from error


def show_run_plan(answer: Mapping[str, Any]) -> None:
    """Print what ``fedpriv.experiment.planning.plan_run`` found."""
    table = Table(title="What this experiment will state", box=box.SIMPLE, show_header=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    for unit in answer.get("also", ()):
        answer = {**answer, **{f"{unit['unit']} level: {key}": value for key, value in unit.items() if key != "unit"}}
    for key, value in answer.items():
        if key not in ("notes", "also"):
            table.add_row(key.replace("_", " "), "-" if value is None else str(value))
    console = Console(highlight=False)
    console.print(table)
    for note in answer["notes"]:
        console.print(f"Note: {note}.", soft_wrap=True)
