"""The fixture ``conformance`` in somebody else's test suite, with nothing but an installed fedpriv."""

import os
import subprocess
import sys

import pytest

SUITE = '''
import pytest
from fedpriv.privacy import ClippingGrid
from fedpriv.privacy.mechanisms import CentralGaussian


class Half(CentralGaussian):
    @property
    def noise_std(self):
        return super().noise_std

    def decode(self, gathered):
        return super().decode(gathered) * 0.5


def half(streams, sampler):
    grid = ClippingGrid(clipping_norm=1.0, summands=100)
    return Half(grid=grid, sampler=sampler, noise_multiplier=1.0, streams=streams)


AROUND = {"population": 30, "cohort": 6}


def test_by_name(conformance):
    conformance("fedpriv.privacy.mechanisms:CentralGaussian", noise_multiplier=1.0, **AROUND).assert_holds()


def test_by_itself(conformance):
    verdicts = conformance(half, claims=AROUND)
    with pytest.raises(AssertionError, match="noise_std: standard deviation"):
        verdicts.assert_holds()
    known = tuple(row.property for row in verdicts.failed)
    verdicts.assert_holds(except_=known)
    with pytest.raises(AssertionError, match="no longer fails"):
        verdicts.assert_holds(except_=(*known, "noise_law"))
    with pytest.raises(ValueError, match="no property of the kit: colour"):
        verdicts.assert_holds(except_=("colour",))
'''


def run(*command, folder):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_a_suite_with_the_fixture(tmp_path):
    (tmp_path / "test_mine.py").write_text(SUITE)
    ran = run(sys.executable, "-m", "pytest", "-q", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def test_the_plugin_is_announced_and_light(tmp_path):
    code = (
        "import sys; from importlib.metadata import entry_points;"
        "(found,) = [e for e in entry_points(group='pytest11') if e.name == 'fedpriv'];"
        "plugin = found.load(); print(plugin.__name__, *sys.modules)"
    )
    name, *modules = run(sys.executable, "-c", code, folder=tmp_path).stdout.split()
    assert name == "fedpriv.conformance.pytest_plugin"
    assert {"torch", "flwr", "numpy", "scipy", "opacus"}.isdisjoint(modules)
