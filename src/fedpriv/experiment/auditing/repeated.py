"""One experiment trained many times, with its only canary or without: what a single canary shows, by counting errors.

Jagielski, Ullman & Oprea 2020 (arXiv 2006.07709); as mu-GDP, Nasr et al. 2023 (arXiv 2302.07956).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np

from fedpriv.accounting.claims import noise_by_server
from fedpriv.audits.bounds import repeated_epsilon, repeated_mu
from fedpriv.config import Config
from fedpriv.errors import AuditError, ConfigError, DamagedRunError
from fedpriv.records.atomic import writing
from fedpriv.streams import Streams

from ..assembly import Experiment
from ..attacking.shadows import train_again_on
from ..planning import plan_run
from .audit import Audit, audit_of

_FEWEST_RUNS = 40
_PILOTS = 4  # one run of so many finds the threshold
_OWN_COINS = ("noise", "masks", "commitment", "batches", "training", "dropout", "canaries")

Tell = Callable[[str], None]
Errors = dict[str, int]
"""``runs_with``, ``runs_without``, ``missed`` and ``false_alarms``, as the bounds take them."""


@final
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run: whether the canary's coin put it in, and how much it looks as if it was."""

    run: int
    included: bool
    score: float


@final
@dataclass(frozen=True, kw_only=True)
class RepeatedAudit:
    """The same data, initial model and plan in every run; batches, noise and the canary's coin are each run's own.

    Args:
        config: with an audit, of which there will be one canary.
        folder: trials are kept below it, in a file by the experiment's id, and not run again.
    """

    config: Config
    folder: Path

    def __post_init__(self) -> None:
        if not self.config.audit:
            raise ConfigError("Nothing is audited: choose audit=gradient_canaries, for example.")
        self._audit.kind.check()

    @cached_property
    def experiment(self) -> Experiment:
        return Experiment.assemble(replace(self.config, audit={**self.config.audit, "canaries": 1, "guesses": None}))

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """What a run of the experiment states."""
        return plan_run(self.experiment.config)

    @property
    def trials_file(self) -> Path:
        return self.folder / f"{self.experiment.run_id()}.jsonl"

    def conduct(self, runs: int, *, workers: int, tell: Tell) -> dict[str, Any]:
        """Train what is missing of so many runs; what they show, as JSON.

        Raises:
            ConfigError: too few runs.
        """
        if runs < _FEWEST_RUNS:
            raise ConfigError(f"{runs} runs are too few for a threshold and a bound: use at least {_FEWEST_RUNS}.")
        known = self._known()
        missing = [run for run in range(runs) if run not in known]
        with writing(self.trials_file):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.trials_file.touch()
        with self.trials_file.open("a", encoding="utf-8") as file:
            for done, trial in enumerate(self._train(missing, workers), start=1):
                file.write(json.dumps(asdict(trial)) + "\n")
                file.flush()
                known[trial.run] = trial
                if done % max(1, len(missing) // 10) == 0:
                    tell(f"run {done} of {len(missing)}")
        return self._found([known[run] for run in range(runs)])

    def trial(self, run: int) -> Trial:
        """One run."""
        experiment, audit, streams = self.experiment, self._audit, self._streams(run)
        model = train_again_on(
            experiment, streams, rounds=self.plan["rounds"], noise_multipliers=self._noise_multipliers
        )
        layout, canaries = experiment.layout(model), audit.canaries(streams)
        begun = layout.from_module(experiment.new_model())
        scores = audit.kind.scores(canaries, begun=begun, ended=layout.from_module(model))
        return Trial(run=run, included=bool(canaries.included[0]), score=float(scores[0]))

    @cached_property
    def _audit(self) -> Audit:
        audit = audit_of(self.experiment)
        if audit is None:
            raise ConfigError("Nothing is audited.")
        return audit

    @cached_property
    def _noise_multipliers(self) -> np.ndarray:
        return self.experiment.privacy.noise_multipliers()

    def _streams(self, run: int) -> Streams:
        """Where cohorts do not amplify, their schedule is the plan's; else it is drawn anew, too."""
        keys = dict(self.experiment.streams(None).keys)
        own = [*_OWN_COINS, *["cohort"] * noise_by_server(self.config.privacy.mechanism)]
        for purpose in own:
            keys[purpose] = hashlib.sha256(b"fedpriv repeated audit %d" % run + keys[purpose]).digest()
        return Streams(keys=keys)

    def _train(self, runs: Sequence[int], workers: int) -> Iterable[Trial]:
        if workers == 1 or len(runs) < 2:
            return map(self.trial, runs)
        from joblib import Parallel, delayed

        jobs = (delayed(_quietly)(self, run) for run in runs)
        found: Iterable[Trial] = Parallel(n_jobs=workers, return_as="generator_unordered")(jobs)
        return found

    def _known(self) -> dict[int, Trial]:
        """A last line that a kill has torn is no trial."""
        lines = self.trials_file.read_text(encoding="utf-8").split("\n") if self.trials_file.exists() else [""]
        if lines[-1]:
            self.trials_file.write_text("".join(f"{line}\n" for line in lines[:-1]), encoding="utf-8")
        try:
            trials = [Trial(**json.loads(line)) for line in lines[:-1]]
        except (ValueError, TypeError) as error:
            raise DamagedRunError(f"{self.trials_file} does not hold trials: remove it.") from error
        return {trial.run: trial for trial in trials}

    def _found(self, trials: Sequence[Trial]) -> dict[str, Any]:
        pilots = len(trials) // _PILOTS
        delta, confidence = self._audit.delta, float(self.config.audit["confidence"])
        told: dict[str, Any] = {
            "experiment": self.experiment.run_id(),
            "kind": self.config.audit["kind"],
            "runs": len(trials),
            "pilots": pilots,
            "confidence": confidence,
            "delta": delta,
            "claimed_epsilon": self._claimed,
        }
        bounds: dict[str, Callable[[Errors], float]] = {
            "epsilon": lambda errors: repeated_epsilon(**errors, delta=delta, confidence=confidence),
            "mu": lambda errors: repeated_mu(**errors, confidence=confidence),
        }
        for name, bound in bounds.items():
            threshold = _best_threshold(trials[:pilots], bound)
            errors = _errors(trials[pilots:], threshold)
            told[f"empirical_{name}"] = bound(errors)
            told[f"by_{name}"] = {"threshold": threshold, **errors}
        return told

    @property
    def _claimed(self) -> float | None:
        """Of the audited unit."""
        unit = self._audit.promise.unit
        stated = {one["unit"]: one["epsilon"] for one in (self.plan, *self.plan.get("also", ()))}
        return None if unit is None or stated[unit] is None else float(stated[unit])


def _best_threshold(pilots: Sequence[Trial], bound: Callable[[Errors], float]) -> float:
    """Midway between two scores of the pilots: where they give the best bound, of several the one of fewest errors.

    Raises:
        ConfigError: the canary was in all pilots, or in none.
    """
    if len({trial.included for trial in pilots}) < 2:
        raise ConfigError(f"The canary's coin fell alike in all {len(pilots)} pilots: use more runs.")
    scores = sorted(trial.score for trial in pilots)
    between = [(low + high) / 2 for low, high in pairwise(scores)]

    def worth(threshold: float) -> tuple[float, int]:
        errors = _errors(pilots, threshold)
        return bound(errors), -errors["missed"] - errors["false_alarms"]

    return max(between, key=worth)


def _errors(trials: Sequence[Trial], threshold: float) -> Errors:
    """Runs above the threshold are taken to have the canary."""
    inside = [trial.score for trial in trials if trial.included]
    outside = [trial.score for trial in trials if not trial.included]
    return {
        "runs_with": len(inside),
        "runs_without": len(outside),
        "missed": sum(score <= threshold for score in inside),
        "false_alarms": sum(score > threshold for score in outside),
    }


def _quietly(audit: RepeatedAudit, run: int) -> Trial:
    """In a process of its own."""
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    torch.set_num_threads(audit.config.threads)
    return audit.trial(run)


def check_repeated(found: Mapping[str, Any]) -> None:
    """Raise AuditError where the bound exceeds the claim."""
    claimed = found["claimed_epsilon"]
    if claimed is not None and found["empirical_epsilon"] > claimed:
        raise AuditError(
            f"{found['runs']} runs contradict the claim of epsilon {claimed:.4g} at delta {found['delta']:.3g}: "
            f"epsilon >= {found['empirical_epsilon']:.4g} with {found['confidence']:.0%} confidence. Something "
            "protects less than it says. Please report this with the command."
        )
