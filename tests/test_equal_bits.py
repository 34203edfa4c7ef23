"""The same experiment gives the same bits, however it is executed; another seed gives others."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from crash.runs import Result, fedpriv, only_run, run_json, sha256
from crash.workload import DIGITS, SMALL

# 24 clients: a float sum has chunks of more than one client.
MANY = ("partition.num_clients=24", "rounds=3")
FLAKY = "federation.dropout=0.3"
MECHANISMS: dict[str, tuple[str, ...]] = {
    "none": (*DIGITS, *MANY, "privacy=none", "partition=dirichlet", FLAKY),
    "example": (*SMALL, *MANY, FLAKY),
    "central": (*SMALL, *MANY, "privacy=central", "sampling=poisson", "sampling.cohort=20", FLAKY),
    "central_adaptive": (*SMALL, *MANY, "privacy=central_adaptive", "sampling.cohort=20", FLAKY),
    "central_per_layer": (*SMALL, *MANY, "privacy=central_per_layer", "model=mlp", "sampling.cohort=20", FLAKY),
    "ftrl_tree": (*SMALL, *MANY, "privacy=ftrl_tree", "sampling.cohort=8", FLAKY),
    "ftrl_banded": (*SMALL, *MANY, "privacy=ftrl_banded", "sampling.cohort=8", FLAKY),
    "both_units": (*SMALL, *MANY, "privacy=both_units", "sampling.cohort=20", FLAKY),
    "distributed": (*SMALL, *MANY, "privacy=distributed", "sampling.cohort=8", "federation.dropout=0.1"),
    "local_gaussian": (*SMALL, *MANY, "privacy=local_gaussian", "sampling.cohort=20", FLAKY),
    "local_laplace": (*SMALL, *MANY, "privacy=local_laplace", "sampling.cohort=20", FLAKY),
    "scaffold": (
        *(*DIGITS, *MANY, FLAKY, "privacy=none", "strategy=scaffold", "partition=dirichlet"),
        "sampling.cohort=20",
    ),
    "personal layers": (
        *(*DIGITS, *MANY, "privacy=none", "strategy=personal_layers", "strategy.personal=['output.*']", "model=mlp"),
        *("split.client_holdout=0.2", "sampling.cohort=20"),
    ),
    "fedadam": (*DIGITS, *MANY, "privacy=none", "strategy=fedadam", "training=fedprox", "sampling.cohort=20"),
}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a finished run, trained once for each list of overrides."""
    known: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in known:
            output = tmp_path_factory.mktemp("runs")
            ended = fedpriv("run", *overrides, f"output_dir={output}")
            assert ended.code == 0, ended
            known[overrides] = only_run(output)
        return known[overrides]

    return folder


def _model(folder: Path) -> str:
    return sha256(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    "mechanism", ["example", "central", *(pytest.param(name, marks=pytest.mark.slow) for name in ("none", "fedadam"))]
)
def test_the_same_seed_gives_the_same_bits(mechanism, once, tmp_path):
    first = once(*MECHANISMS[mechanism])
    again = fedpriv("run", *MECHANISMS[mechanism], f"output_dir={tmp_path}", "name=other")
    assert again.code == 0
    second = only_run(tmp_path)
    assert second.name == first.name, "the run id does not depend on where it runs"
    assert Result.of(second) == Result.of(first)


@pytest.mark.parametrize(
    ("mechanism", "workers"),
    [
        ("local_gaussian", 2),
        *(
            pytest.param(mechanism, workers, marks=pytest.mark.slow)
            for mechanism in MECHANISMS
            for workers in (2, 3)
            if (mechanism, workers) != ("local_gaussian", 2)
        ),
    ],
)
def test_any_number_of_workers_gives_the_same_bits(mechanism, workers, once):
    alone = once(*MECHANISMS[mechanism])
    together = once(*MECHANISMS[mechanism], f"workers={workers}")
    assert together.name == alone.name
    assert Result.of(together) == Result.of(alone)
    assert len(run_json(together)["execution"]["worker_pids"]) == workers


@pytest.mark.parametrize("mechanism", ["none", "example", "central"])
def test_a_node_for_every_client_gives_the_same_bits(mechanism, once):
    # Up to 16 clients in a cohort, chunks are of one client anyway; integer sums do not mind any chunks.
    small = MECHANISMS[mechanism] if mechanism == "central" else (*MECHANISMS[mechanism], "partition.num_clients=8")
    assert _model(once(*small, "clients_per_node=1")) == _model(once(*small))


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ["none", "example"])
def test_other_evaluations_leave_the_weights_alone(mechanism, once):
    usual = once(*MECHANISMS[mechanism])
    rare = once(*MECHANISMS[mechanism], "evaluation.every=3", "evaluation.clients=false")
    assert _model(rare) == _model(usual)
    assert (rare / "ledger.jsonl").read_bytes() == (usual / "ledger.jsonl").read_bytes()


@pytest.mark.parametrize("mechanism", ["none", "example"])
def test_another_seed_gives_other_bits(mechanism, once):
    usual, other = once(*MECHANISMS[mechanism]), once(*MECHANISMS[mechanism], "seed=1")
    assert _model(other) != _model(usual)


@pytest.mark.parametrize(
    "seed", ["noise", *(pytest.param(name, marks=pytest.mark.slow) for name in ("data", "sampling", "model"))]
)
def test_every_single_seed_matters(seed, once):
    central = MECHANISMS["central"]
    assert _model(once(*central, f"seeds.{seed}=7")) != _model(once(*central))


def test_a_seed_that_agrees_modulo_2_to_the_32_is_another(once):
    central = MECHANISMS["central"]
    assert _model(once(*central, f"seeds.noise={2**32}")) != _model(once(*central))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("mechanism", ["none", pytest.param("central", marks=pytest.mark.slow)])
def test_an_observer_leaves_the_weights_alone(mechanism, each, once, monkeypatch, tmp_path, silent_reporter):
    from fedpriv import experiment
    from fedpriv.config import compose
    from fedpriv.experiment import attempt

    class Spy:
        def __init__(self) -> None:
            self.seen: list[tuple[int, int, int]] = []

        def saw(self, round_number, sent, received):
            self.seen.append((round_number, len(sent), len(received)))

    spy = Spy()
    plain = attempt.Attempt._algorithm
    monkeypatch.setattr(
        attempt.Attempt,
        "_algorithm",
        lambda self: dataclasses.replace(plain(self), observers=(spy,), each=each),
    )
    config = compose([*MECHANISMS[mechanism], f"output_dir={tmp_path}"], config_dir=None)
    experiment.run(config, reporter=silent_reporter)
    assert spy.seen == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
    assert _model(only_run(tmp_path)) == _model(once(*MECHANISMS[mechanism]))
