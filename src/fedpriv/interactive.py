"""For notebooks and scripts: run an experiment whose data, model or strategy are objects at hand."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.config import MODEL_KEYS, Config, check, compose
from fedpriv.errors import ConfigError, FedprivError
from fedpriv.records.run_record import RunRecord
from fedpriv.runtimes.choice import pool_kind
from fedpriv.runtimes.pools import start_early
from fedpriv.targets import TARGET

if TYPE_CHECKING:
    from fedpriv.replays import Replayed
    from fedpriv.runs import Runs

Spec = Any
"""A class or function, or a mapping of ``_target_`` (one, or its dotted name) and its arguments."""


def run(
    *overrides: str,
    config_dir: Path | None = None,
    data: Spec = None,
    partition: Spec = None,
    model: Spec = None,
    flower: Spec = None,
) -> RunRecord:
    """Run an experiment, as ``fedpriv run`` does, and return what its ``run.json`` holds.

    Args:
        overrides: such as ``"experiment=digits_smoke"`` or ``"privacy.epsilon=3"``.
        config_dir: a folder of your own groups and presets.
        data, partition, model: used instead of the preset's; what each must be is in the README.
        flower: a Flower strategy; needs ``"strategy=flower"`` among the overrides.

    Raises:
        InputError: it cannot be run as asked; nothing was written.
    """
    try:
        composed = _compose(
            overrides, config_dir=config_dir, data=data, partition=partition, model=model, flower=flower
        )
        return _run(composed)
    except FedprivError as error:
        raise error from None  # the message says it all; Hydra's own would fill a notebook


def sweep(
    *overrides: str,
    config_dir: Path | None = None,
    data: Spec = None,
    partition: Spec = None,
    model: Spec = None,
    flower: Spec = None,
    fail_fast: bool = False,
) -> "Runs":
    """Run every combination of values, as ``fedpriv sweep`` does, and return the runs.

    Args:
        overrides: as of ``run``, with several values where it shall sweep: ``"privacy.epsilon=1,8"``, ``"seed=0,1,2"``.
        config_dir, data, partition, model, flower: as of ``run``, for all.
        fail_fast: begin no run after one has failed.

    Returns:
        Those that ended; ``others`` lists the rest. Failures were printed, each in a line.

    Raises:
        InputError: one cannot be run as asked; nothing was written.
        KeyboardInterrupt: interrupted; the same call goes on with it.
    """
    from functools import partial

    from rich.console import Console

    from fedpriv import sweeps
    from fedpriv.runs import find_runs

    composing = partial(_compose, config_dir=config_dir, data=data, partition=partition, model=model, flower=flower)
    console = Console(highlight=False, soft_wrap=True)
    try:
        swept = sweeps.sweep(overrides, compose=composing, fail_fast=fail_fast, console=console)
        sweeps.tell(swept, console)
        return find_runs(swept.folders)
    except FedprivError as error:
        raise error from None


def replay(path: Path | str, *, keep: Path | str | None = None) -> "Replayed":
    """Train a finished run again from its folder alone, as ``fedpriv replay`` does, and compare every file.

    Args:
        path: the run's folder.
        keep: where the replay is left, as ``keep/<name>/<run id>``; None: nowhere.

    Returns:
        ``holds``: whether all came out the same; ``differences``: the first of each file; ``lines``: all that was told.

    Raises:
        InputError: it cannot be replayed, with the reason.
    """
    from contextlib import closing

    from fedpriv import replays
    from fedpriv.progress import TerminalReporter

    with closing(TerminalReporter()) as reporter:
        scratch = None if keep is None else Path(keep).expanduser()
        return replays.replay(Path(path).expanduser(), keep=scratch, reporter=reporter, tell=reporter.say)


def _compose(
    overrides: Sequence[str], *, config_dir: Path | None, data: Spec, partition: Spec, model: Spec, flower: Spec
) -> Config:
    """The config of these overrides, with the objects at hand in their places."""
    config = compose(overrides, config_dir=config_dir)
    if data is not None:
        config.data = _spec(data, "data")
    if partition is not None:
        config.partition = _spec(partition, "partition")
    if model is not None:
        adaptation = {key: config.model[key] for key in MODEL_KEYS}
        config.model = adaptation | _spec(model, "model")
    if flower is not None:
        config.strategy.flower = _spec(flower, "flower")
    return check(config, chosen=[])


def _run(config: Config) -> RunRecord:
    start_early(pool_kind(runtime=config.runtime.kind, workers=config.workers, threads=config.threads))
    from contextlib import closing

    from fedpriv import experiment
    from fedpriv.progress import TerminalReporter

    with closing(TerminalReporter()) as reporter:
        return experiment.run(config, reporter=reporter)


def _spec(given: Spec, where: str) -> dict[str, Any]:
    spec = dict(given) if isinstance(given, Mapping) else {TARGET: given}
    target = spec.get(TARGET)
    if not isinstance(target, str):
        spec[TARGET] = _dotted_name(target, where)
    return spec


def _dotted_name(target: Any, where: str) -> str:
    """Where the target can be found again, by a worker process too."""
    name = getattr(target, "__qualname__", "")
    if not (inspect.isclass(target) or inspect.isroutine(target)) or "<" in name:
        raise ConfigError(
            f"{where}: give a class or function that has a name at the top level of its module, not {target!r}; a "
            f"mapping needs the key {TARGET}."
        )
    return f"{target.__module__}.{name}"
