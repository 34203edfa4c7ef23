"""What several rooms' tests share: a tiny federation, judges of noise, and real runs that print nothing."""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from scipy import stats

from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.data import Dataset, Examples, FederatedData, Normalisation, federate
from fedpriv.privacy import CohortSampler, make_sampler
from fedpriv.streams import Streams, seed_key

# The same examples on every machine, and none too slow for a busy one.
settings.register_profile("fedpriv", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedpriv")

PURPOSES = ("split", "partition", "model", "cohort", "batches", "dropout", "training", "noise", "commitment", "masks")
# Chance of one judgement to be wrong about the right law. Seeds are fixed: this guards edits of the tests.
_P_VALUE = 1e-5


@pytest.fixture(scope="session")
def new_streams() -> Callable[[int], Streams]:
    """Streams whose every purpose has the same seed."""
    return lambda seed: Streams(keys=dict.fromkeys(PURPOSES, seed_key(seed)))


@pytest.fixture(scope="session")
def new_sampler() -> Callable[..., CohortSampler]:
    """A sampler over these ids by its kind, with what of cohort, separation and cap is given."""

    def make(kind: str, *, clients: Any, streams: Streams, **given: Any) -> CohortSampler:
        said = {"cohort": None, "separation": None, "cap": None, **given}
        law = cohort_sampling(kind=kind, population=len(clients), **said)  # type: ignore[arg-type]
        return make_sampler(law, clients=np.asarray(clients), streams=streams)

    return make


@pytest.fixture(scope="session")
def new_data() -> Callable[[Sequence[int]], FederatedData]:
    """Random examples of 6 features in 3 classes; as many for client k as ``sizes[k]``."""

    def make(sizes: Sequence[int]) -> FederatedData:
        rng, count = np.random.default_rng(5), sum(sizes)

        def examples(n: int) -> Examples:
            return Examples(x=rng.normal(size=(n, 6)).astype(np.float32), y=rng.integers(0, 3, n))

        dataset = Dataset(
            train=examples(count),
            test=examples(10),
            users=None,
            num_classes=3,
            normalisation=Normalisation(scale=1.0, mean=0.0, std=1.0),
            groups={},
            public=False,
        )
        owners = np.repeat(np.arange(len(sizes)), sizes)
        return federate(dataset, owners, num_clients=len(sizes), min_examples=0)

    return make


# -- noise -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseJudge:
    """Accepts noise that is what was claimed and rejects noise that is not."""

    def has_std(self, noise: Any, claimed: float) -> bool:
        """Chi-square test of the standard deviation of centred Gaussian samples, two-sided."""
        samples = np.asarray(noise, dtype=np.float64).ravel()
        statistic = float(((samples / claimed) ** 2).sum())
        low, high = stats.chi2.interval(1 - _P_VALUE, df=len(samples))
        return bool(low <= statistic <= high)

    def is_gaussian(self, noise: Any, claimed: float) -> bool:
        """Kolmogorov-Smirnov test against N(0, claimed^2)."""
        samples = np.asarray(noise, dtype=np.float64).ravel()
        return bool(stats.kstest(samples / claimed, "norm").pvalue > _P_VALUE)

    def are_independent(self, noises: Sequence[Any]) -> bool:
        """No two vectors are correlated: neither equal, nor shifted, nor opposite, nor partly shared."""
        vectors = np.stack([np.asarray(noise, dtype=np.float64).ravel() for noise in noises])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        correlation = np.abs(vectors @ vectors.T)[np.triu_indices(len(vectors), k=1)]
        bound = stats.norm.isf(_P_VALUE / len(correlation)) / np.sqrt(vectors.shape[1])
        return bool(correlation.max() < bound)


@pytest.fixture(scope="session")
def judge() -> NoiseJudge:
    return NoiseJudge()


# -- real runs ---------------------------------------------------------------------------------------------


@dataclass
class SilentReporter:
    """Remembers what it was told."""

    folder: Path | None = None
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    failures: list[Mapping[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def already_done(self, folder: Path, record: Any) -> None:
        self.folder = folder

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        self.folder = folder

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self.rows.append(row)
        self.failures.append(failures)

    def noted(self, text: str) -> None:
        self.notes.append(text)

    def finished(self, folder: Path, record: Any) -> None:
        self.folder = folder

    def stopped(self, folder: Path, record: Any) -> None:
        self.folder = folder


@pytest.fixture
def silent_reporter() -> SilentReporter:
    return SilentReporter()


@dataclass(frozen=True)
class Ran:
    """A finished run."""

    record: Any
    folder: Path
    reporter: SilentReporter


@pytest.fixture(scope="session")
def run_digits(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Really runs ``digits_smoke`` with the given overrides.

    The same overrides are run once a session, unless an ``output_dir`` or a ``reporter`` asks for a run of its own.
    """
    from fedpriv.config import compose
    from fedpriv.experiment import run

    def fresh(*overrides: str, output_dir: Path | None = None, reporter: Any = None) -> Ran:
        folder = output_dir or tmp_path_factory.mktemp("runs")
        reporter = reporter or SilentReporter()
        given = ["experiment=digits_smoke", "evaluation.clients=false", f"output_dir={folder}"]
        record = run(compose([*given, *overrides], config_dir=None), reporter=reporter)
        return Ran(record=record, folder=reporter.folder, reporter=reporter)

    remembered = lru_cache(maxsize=None)(fresh)
    return lambda *overrides, **own: fresh(*overrides, **own) if own else remembered(*overrides)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


# -- the command line --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a command gave."""

    code: int | str | None
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """Runs ``fedpriv ARGUMENTS`` in this process, with ``tmp_path`` as the current folder."""
    from fedpriv.cli import main

    def call(*arguments: str) -> Outcome:
        try:
            code: int | str | None = main(arguments)
        except SystemExit as stopped:  # argparse
            code = stopped.code
        return Outcome(code, *capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, before)
