"""One experiment, from a config to a finished run folder: trained, recorded, resumable at any moment."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from fedpriv import __version__
from fedpriv.accounting.claims import noise_by_clients
from fedpriv.config import Config, load
from fedpriv.errors import BudgetExhaustedError, ConfigError, DamagedRunError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking import Attacks, Watch, attack_run, conduct
from fedpriv.experiment.attempt import Attempt
from fedpriv.experiment.recovery import Start, latest_mark
from fedpriv.experiment.trackers import told
from fedpriv.federation import Grid
from fedpriv.records.checkpoint import load_checkpoint
from fedpriv.records.hashchain import GENESIS, HashChain
from fedpriv.records.noise_key import create_noise_key, destroy_noise_key, read_noise_key
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import ChainMark, RunRecord
from fedpriv.runtimes.pools import start_early
from fedpriv.tracking import Callback

_T = TypeVar("_T")


def run(config: Config, *, reporter: Callback, grid: Grid | None = None) -> RunRecord:
    """Run an experiment, or go on with it where its folder is unfinished.

    Args:
        config: checked (``fedpriv.config.compose``).
        grid: somebody else's nodes, each with this experiment's ClientApp; None: nodes in this process and workers.

    Returns:
        What ``run.json`` holds. A completed run is reported and not trained again, unless ``force``.

    Raises:
        InputError: it cannot be run as asked; nothing was written.
        BudgetExhaustedError: the budget does not allow one release.
        InterruptedRunError: stopped by Ctrl-C; the folder can be resumed.
    """
    experiment = Experiment.assemble(config)
    if grid is not None and noise_by_clients(config.privacy.mechanism) and experiment.noise_is_secret:
        raise ConfigError(
            "seeds.noise=secret draws a key that never leaves this process, but with "
            f"privacy={config.privacy.mechanism} the nodes draw noise: leave seeds.noise out here."
        )
    attacks = _attacks(experiment)
    reporter = told(experiment, reporter)
    folder = RunFolder(Path(config.output_dir) / config.name / experiment.run_id())
    if not config.force and folder.run_json.exists():
        record = folder.read_run_json()
        if record.is_done:
            return _attacked(attacks, folder, _report_done(folder, record, reporter), reporter)
    record = _train(experiment, folder, reporter, force=config.force, grid=grid, attacks=attacks)
    return _attacked(attacks, folder, record, reporter)


def resume(path: Path, *, reporter: Callback) -> RunRecord:
    """Go on with the run in ``path``; a completed one is reported and left as it is.

    Raises:
        InputError: no run folder.
        DamagedRunError: a file of it, or its data, is not what the run was started with.
    """
    folder = RunFolder(path)
    record = folder.read_run_json()
    if record.is_done:
        record = _report_done(folder, record, reporter)
        config = load(folder.config)
        if config.attack.keys() <= record.extra.get("attacks", {}).keys():
            return record
        return attack_run(path, config.attack, workers=config.workers, tell=reporter.noted)
    experiment = Experiment.assemble(load(folder.config))
    if experiment.run_id(version=record.packages.get("fedpriv", __version__)) != record.run_id:
        raise DamagedRunError(
            f"{path}: config or data are no longer those that run {record.run_id} was started with. Restore them, or "
            "start a new run with `fedpriv run`."
        )
    attacks, reporter = _attacks(experiment), told(experiment, reporter)
    record = _train(experiment, folder, reporter, force=False, grid=None, attacks=attacks)
    return _attacked(attacks, folder, record, reporter)


def train_again(experiment: Experiment, path: Path, *, reporter: Callback) -> RunRecord:
    """Train into the new folder ``path``, whatever the config says of ``output_dir``, ``force`` and ``attack``."""
    return _train(experiment, RunFolder(path), reporter, force=False, grid=None, attacks=None)


def _attacks(experiment: Experiment) -> Attacks:
    """Those of the config, checked; and its audit."""
    attacks = Attacks(experiment=experiment, specs=experiment.config.attack)
    attacks.check()
    if experiment.config.audit:
        from fedpriv.experiment.auditing import audit_of  # scipy, only for audited runs

        if audit := audit_of(experiment):
            audit.check()
    return attacks


def _attacked(attacks: Attacks, folder: RunFolder, record: RunRecord, reporter: Callback) -> RunRecord:
    """The finished run with what its attacks came to."""
    if not attacks.specs or not record.is_done:
        return record
    return conduct(attacks, folder, workers=attacks.experiment.config.workers, tell=reporter.noted)


def _report_done(folder: RunFolder, record: RunRecord, reporter: Callback) -> RunRecord:
    destroy_noise_key(folder.noise_key)  # there only if the run was killed right after its last word
    reporter.already_done(folder.path, record)
    return record


def _train(
    experiment: Experiment,
    folder: RunFolder,
    reporter: Callback,
    *,
    force: bool,
    grid: Grid | None,
    attacks: Attacks | None,
) -> RunRecord:
    if grid is None:
        start_early(experiment.pool_kind)
    # What can be refused is refused before there is a folder.
    noise = None if folder.run_json.exists() else experiment.privacy.noise_multipliers()
    folder.create()
    with folder.acquire(), ExitStack() as stack:
        earlier = _load(folder.read_run_json, force=force) if folder.run_json.exists() else None
        if earlier is not None and earlier.is_done and not force:
            return _report_done(folder, earlier, reporter)  # another process has just finished it
        checkpoint = _load(partial(load_checkpoint, folder.checkpoint), force=force)
        mark = latest_mark(checkpoint, earlier)
        ledger = stack.enter_context(
            HashChain.open(folder.ledger, trusted_count=mark.count, trusted_head=mark.head)
        )
        known = ChainMark(head=GENESIS, count=0) if earlier is None or force else earlier.audit
        audit = stack.enter_context(HashChain.open(folder.audit, trusted_count=known.count, trusted_head=known.head))
        if checkpoint is None and ledger.count and not force:
            raise DamagedRunError(
                f"{folder.checkpoint} is missing, but releases were made. Restore it from a copy, or run again with "
                "force=true."
            )
        start = Start.of(checkpoint, force=force)
        if experiment.is_stock:
            start = start.from_round_one()
        if start.noise_multipliers is not None:
            noise = start.noise_multipliers
        had_noise_key = folder.noise_key.exists()
        try:
            attempt = Attempt(
                experiment=experiment,
                folder=folder,
                reporter=reporter,
                grid=grid,
                ledger=ledger,
                audit=audit,
                earlier=earlier,
                start=start,
                noise_multipliers=experiment.privacy.noise_multipliers() if noise is None else noise,
                noise_key=_noise_key(experiment, folder, resuming=start.tensors is not None),
                watch=_watch(attacks, folder),
            )
            return attempt.execute()
        except BudgetExhaustedError:
            if not had_noise_key:  # it protects nothing
                destroy_noise_key(folder.noise_key)
            raise


def _watch(attacks: Attacks | None, folder: RunFolder) -> Watch | None:
    watched = None if attacks is None else attacks.watched
    return None if watched is None else Watch(watched, folder.path)


def _load(load: Callable[[], _T], *, force: bool) -> _T | None:
    """What ``load`` reads; where the run starts anew, a damaged file is as good as none."""
    try:
        return load()
    except DamagedRunError:
        if force:
            return None
        raise


def _noise_key(experiment: Experiment, folder: RunFolder, *, resuming: bool) -> bytes | None:
    if not experiment.noise_is_secret:
        return None
    if resuming or folder.noise_key.exists():
        return read_noise_key(folder.noise_key)
    return create_noise_key(folder.noise_key)
