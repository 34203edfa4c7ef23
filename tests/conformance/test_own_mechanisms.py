"""Our own mechanisms, played by the real federation, do what they claim, over every way to draw a cohort."""

import pytest

from fedpriv.conformance.kit import measure
from fedpriv.errors import ConfigError
from fedpriv.privacy import ClippingGrid
from fedpriv.privacy.mechanisms import CentralGaussian

CENTRAL, EXAMPLE = (f"fedpriv.privacy.mechanisms:{name}" for name in ("CentralGaussian", "ExampleGaussian"))
SAMPLINGS = {
    "poisson": {"population": 60, "cohort": 12},
    "capped_poisson": {"population": 60, "cohort": 12, "cap": 15},
    "fixed_size": {"population": 60, "cohort": 12},
    "all": {"population": 12},
    "round_robin": {"population": 60, "separation": 5},
    "cyclic_poisson": {"population": 60, "separation": 4, "cohort": 9},
}
NOT_FOR_SERVER_NOISE = {"noise_independent_clients", "event"}
NOT_FOR_LOCAL_NOISE = {"weighting", "denominator", "dropouts"}
NOT_FOR_EITHER = {"adaptive_clip", "adaptive_noise", "promised_epsilon", "composition"}


def not_applicable(verdicts):
    return {row.property for row in verdicts.rows if row.verdict == "not_applicable"}


def example(**arguments):
    return measure(EXAMPLE, {"num_examples": 12, "batch_size": 6, **arguments})


def test_central_gaussian_holds():
    verdicts = measure(CENTRAL, {"noise_multiplier": 1.3, "clipping_norm": 0.7, "population": 40, "cohort": 8})
    assert verdicts.failed == []
    assert not_applicable(verdicts) == NOT_FOR_SERVER_NOISE | NOT_FOR_EITHER
    assert verdicts.claim.sensitivity["add_or_remove_one"] == pytest.approx(0.7 / 8)
    assert verdicts.claim.noise_std == pytest.approx(1.3 * 0.7 / 8)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["vectorized", pytest.param("opacus", marks=pytest.mark.slow)])
def test_example_gaussian_holds(engine):
    verdicts = example(engine=engine, noise_multiplier=0.9, max_grad_norm=0.6, population=40, cohort=8)
    assert verdicts.failed == []
    assert not_applicable(verdicts) == NOT_FOR_LOCAL_NOISE | NOT_FOR_EITHER
    assert verdicts.claim.sensitivity["replace_one"] == pytest.approx(2 * 0.6 / 12)
    assert verdicts.claim.noise_std == pytest.approx(0.9 * 0.6 / 12)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("noise_multiplier", [0.1, 20.0])
def test_central_gaussian_holds_over_every_sampling(sampling, noise_multiplier):
    verdicts = measure(CENTRAL, {"sampling": sampling, "noise_multiplier": noise_multiplier, **SAMPLINGS[sampling]})
    assert verdicts.failed == []
    assert verdicts["sampling"].verdict == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_example_gaussian_holds_over_every_sampling(sampling):
    verdicts = example(sampling=sampling, local_epochs=2, **SAMPLINGS[sampling])
    assert verdicts.failed == []
    assert verdicts["event"].verdict == verdicts["sampling"].verdict == "holds"


@pytest.mark.slow
def test_nobody_is_added_to_a_cohort_of_fixed_size():
    verdicts = measure(CENTRAL, {"sampling": "fixed_size", "population": 30, "cohort": 6})
    assert verdicts.failed == []
    assert verdicts["sensitivity_add_remove"].verdict == "not_applicable"


# -- a mechanism of somebody else's ------------------------------------------------------------------------


def mine(streams, sampler, clipping_norm=0.4):
    grid = ClippingGrid(clipping_norm=clipping_norm, summands=100)
    return CentralGaussian(grid=grid, sampler=sampler, noise_multiplier=1.1, streams=streams)


class NotEveryRound(CentralGaussian):
    """A fault: every second round goes without noise, and its entry does not say so."""

    def decode(self, gathered):
        if gathered.round_number % 2 == 0:
            return self.grid.decode(gathered.total) / self.sampler.law.cohort
        return super().decode(gathered)


def forgetful(streams, sampler):
    grid = ClippingGrid(clipping_norm=0.4, summands=100)
    return NotEveryRound(grid=grid, sampler=sampler, noise_multiplier=1.1, streams=streams)


@pytest.mark.slow
def test_a_factory_of_ones_own_holds():
    verdicts = measure(mine, {"clipping_norm": 0.2, "claim.population": 40, "claim.cohort": 8})
    assert verdicts.failed == []
    assert verdicts.claim.sensitivity["zero_out"] == pytest.approx(0.2 / 8)


@pytest.mark.slow
def test_a_fault_of_ones_own_is_caught():
    assert measure(forgetful, {"claim.population": 40, "claim.cohort": 8})["noise_std"].verdict == "fails"


def test_an_engine_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="engine=sgd: choose one of vectorized, opacus"):
        example(engine="sgd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipping": 1.0}, "takes no clipping. It takes: noise_multiplier=1.0, clipping_norm=1.0"),
        ({"clipping_norm": "large"}, "clipping_norm=large must be a number"),
        ({"noise_multiplier": 0.0}, "claims nothing"),
        ({"cohort": 200}, "cannot be drawn from a population of 100"),
        ({"sampling": "capped_poisson"}, "needs a cap"),
        ({"claim.noise_std": 1.0}, "takes no claim.noise_std"),
    ],
)
def test_what_cannot_be_measured_says_why(arguments, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        measure(CENTRAL, arguments)

