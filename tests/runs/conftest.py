"""A small sweep that was really run, and runs that are made up."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from fedpriv.records.run_record import ChainMark, Execution, RunRecord
from fedpriv.runs import Run

CONFIG = {
    "name": "made",
    "seed": 0,
    "rounds": 3,
    "workers": 1,
    "output_dir": "outputs",
    "data": {"_target_": "fedpriv.data.sources.digits", "root": None},
    "model": {"_target_": "fedpriv.models.logistic", "lora_layers": ["*"]},
    "privacy": {"mechanism": "example", "epsilon": 4.0, "noise_multiplier": None, "max_grad_norm": 1.0},
    "seeds": {"data": None, "sampling": None, "model": None, "noise": None},
}
GUARANTEE = {
    "epsilon": 3.99,
    "delta": 1e-4,
    "unit": "example",
    "relation": "add_or_remove_one",
    "trust_model": "local",
    "accountant": "pld",
    "accountant_version": "dp-accounting 0.6.0",
    "sampling": {"kind": "poisson", "of": "examples into batches"},
    "sampling_run": {"cohorts": {"kind": "all"}},
}


@pytest.fixture(scope="session")
def new_run() -> Callable[..., Run]:
    """A run with these changes: dotted config keys, fields of the guarantee (None: no claim), value, of the record."""

    def make(
        config: Mapping[str, Any] | None = None,
        guarantee: Mapping[str, Any] | None = GUARANTEE,
        value: float | None = 0.5,
        **record: Any,
    ) -> Run:
        own: dict[str, Any] = deepcopy(CONFIG)
        for key, changed in (config or {}).items():
            *groups, last = key.split(".")
            place = own
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = changed
        mark = ChainMark(head="0" * 64, count=0)
        fields: dict[str, Any] = {
            "status": "completed",
            "run_id": "1f0c5a",
            "name": own["name"],
            "seed": own["seed"],
            "metrics": {"test_accuracy": value, "test_loss": 1.0, "baseline": 0.1},
            "guarantee": None,
            "guarantees": [],
            "rounds": 3,
            "seconds": 1.5,
            "packages": {"torch": "2.0", "rich": "14.0"},
            "revision": "abc",
            "ledger": mark,
            "audit": mark,
            "audited": None,
            "error": None,
            "execution": Execution(rounds_trained=3, resumed_from=None, worker_pids=[], attempts=1),
            "extra": {"task": {"headline": "test_accuracy", "higher_is_better": True}},
        }
        return Run(
            also=(),
            path=Path("made") / fields["run_id"],
            record=RunRecord(**(fields | record)),
            config=own,
            guarantee=None if guarantee is None else {**GUARANTEE, **guarantee},
        )

    return make


@pytest.fixture(scope="session")
def swept(run_digits: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epsilons and the two baselines over two seeds: OUTPUT_DIR of eight runs."""
    folder = tmp_path_factory.mktemp("swept")
    for seed in (0, 1):
        for privacy in ("privacy.epsilon=2", "privacy.epsilon=8", "privacy.epsilon=inf", "privacy=none"):
            run_digits("name=sweep", "rounds=1", privacy, f"seed={seed}", output_dir=folder)
    return folder
