"""``fedpriv conformance``: what it prints and how it ends."""

import json

import pytest

from fedpriv.conformance.command import parsed
from fedpriv.errors import ConfigError

CENTRAL = "fedpriv.privacy.mechanisms:CentralGaussian"
SMALL = ("population=30", "cohort=6")
WITHOUT_NOISE = '''
from fedpriv.privacy import ClippingGrid
from fedpriv.privacy.mechanisms import CentralGaussian


class Silent(CentralGaussian):
    def decode(self, gathered):
        print("this line is not JSON")
        return self.grid.decode(gathered.total) / self.sampler.law.cohort


def silent(streams, sampler):
    grid = ClippingGrid(clipping_norm=1.0, summands=100)
    return Silent(grid=grid, sampler=sampler, noise_multiplier=1.0, streams=streams)


def broken(streams):
    raise RuntimeError("not today")
'''


@pytest.mark.slow
def test_rows_as_json_and_nothing_else(command):
    outcome = command("conformance", CENTRAL, "--json", "noise_multiplier=1", "clipping_norm=0.7", *SMALL)
    rows = json.loads(outcome.out)
    assert outcome.code == 0
    assert all(set(row) == {"property", "verdict", "evidence"} for row in rows)
    assert {row["verdict"] for row in rows} == {"holds", "not_applicable"}
    assert len({row["property"] for row in rows}) == len(rows) > 20


@pytest.mark.slow
def test_a_table_for_people(command):
    outcome = command("conformance", CENTRAL, *SMALL)
    assert outcome.code == 0
    assert "noise_std" in outcome.out
    assert "hold" in outcome.out.splitlines()[-1]


@pytest.mark.slow
def test_a_failure_ends_with_1_and_prints_of_the_target_stay_out_of_the_json(command, tmp_path):
    (tmp_path / "own_mechanism.py").write_text(WITHOUT_NOISE)
    outcome = command("conformance", "own_mechanism:silent", "--json", "claim.population=30", "claim.cohort=6")
    failed = {row["property"] for row in json.loads(outcome.out) if row["verdict"] == "fails"}
    assert outcome.code == 1
    assert {"noise_std", "noise_law", "seeds", "zero_update"} <= failed
    assert "sensitivity_replace" not in failed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere:Mechanism"], "no class or function nowhere.Mechanism"),
        (["fedpriv.privacy.mechanisms"], "module:Name"),
        ([CENTRAL, "clipping_norm"], "clipping_norm is no key=value"),
        ([CENTRAL, "cohort=6", "cohort=7"], "cohort is given twice"),
        ([CENTRAL, "sigma=1"], "takes no sigma"),
        (["fedpriv.privacy.mechanisms:NoPrivacy"], "protects nothing"),
        (["fedpriv.privacy:PoissonBatches", "batch_size=2", "local_epochs=1"], "makes a PoissonBatches"),
        (["own_mechanism:broken"], "not today"),
    ],
)
def test_what_cannot_be_measured_ends_with_2(words, message, command, tmp_path):
    (tmp_path / "own_mechanism.py").write_text(WITHOUT_NOISE)
    outcome = command("conformance", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_values_are_those_of_json_or_texts():
    given = parsed(["a=1e-5", "b=.5", "c=true", "d=null", "e=[1, 2]", "f=poisson", "g=x=y", "h="])
    assert given == {"a": 1e-5, "b": 0.5, "c": True, "d": None, "e": [1, 2], "f": "poisson", "g": "x=y", "h": ""}
    with pytest.raises(ConfigError):
        parsed(["=1"])
