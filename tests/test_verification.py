import json

import pytest

from fedpriv.verification import verify


@pytest.fixture(scope="module")
def folder(run_digits, tmp_path_factory):
    return run_digits("rounds=2", output_dir=tmp_path_factory.mktemp("verified")).folder


def _forged(folder, **changes):
    path = folder / "run.json"
    before = path.read_text()
    run = json.loads(before)
    run["guarantee"] |= changes
    run["guarantees"] = [run["guarantee"]]
    path.write_text(json.dumps(run))
    try:
        return verify(folder)
    finally:
        path.write_text(before)


def test_an_untouched_run_holds(folder):
    assert verify(folder).holds


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 1.0},
        {"delta": 0.3},
        {"population": 1_000_000},
        {"noise_secret": True},
        {"delta_rule": "given"},
        {"relation": "zero_out"},
        {"accountant": "rdp"},
        {"not_covered": []},
        {"rounds": 1},
        {"unit": "client"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_forged_guarantee_does_not(folder, changes):
    assert not _forged(folder, **changes).holds


def test_another_config_does_not(folder):
    path = folder / "config.yaml"
    before = path.read_text()
    path.write_text(before.replace("seed: 0", "seed: 1"))
    try:
        assert not verify(folder).holds
    finally:
        path.write_text(before)
