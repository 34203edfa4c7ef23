"""Strategies of Flower and of one's own, through real messages; what Flower 1.41's own DP wrappers do not hold."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import flwr.serverapp.strategy as stock
import numpy as np
import pytest
from faults import Adaptive, Central
from flower_table import FAILS, TARGETS
from flwr.serverapp.strategy import FedAvg

from fedpriv.conformance.flower_strategies import strategy_subject
from fedpriv.conformance.kit import measure, measure_property
from fedpriv.conformance.subject import SERVER, Report, Round, Script
from fedpriv.errors import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
WRAPPERS = [name for name in TARGETS if name != "LocalDpMod"]


def subject_of(wrapper, **changed):
    target, arguments = TARGETS[wrapper]
    return strategy_subject(getattr(stock, target.partition(":")[2]), {**arguments, **changed}, {}, name=target)


def script(*norms, rounds=1, num_examples=9, lost=()):
    """Client i moves the first coordinate by norms[i]; the others are for noise."""
    reports = tuple(
        Report(client=i, update={"w": np.array([norm, *[0.0] * 99]), "b": np.array(0.0)}, num_examples=num_examples)
        for i, norm in enumerate(norms)
        if i not in lost
    )
    start = {"w": np.zeros(100, dtype=np.float32), "b": np.zeros((), dtype=np.float32)}
    return Script(start=start, rounds=(Round(asked=tuple(range(len(norms))), reports=reports),) * rounds)


def right(**claims):
    return strategy_subject(Central, {}, claims, name="Central")


# -- playing -----------------------------------------------------------------------------------------------


def test_a_play_moves_the_global_arrays_by_the_clipped_mean_and_noise():
    release = right().play(script(*[100.0] * 10), seed=1)[0][SERVER]
    assert release.shape == (101,)
    assert release[0] == pytest.approx(1.0, abs=0.5)
    assert np.std(release[1:]) == pytest.approx(0.1, rel=0.3)


def test_a_round_goes_on_from_the_one_before():
    first, second = right().play(script(*[100.0] * 10, rounds=2), seed=1)
    assert second[SERVER][0] == pytest.approx(1.0, abs=0.5)
    assert not np.array_equal(first[SERVER], second[SERVER])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_equal_seeds_give_equal_noise_of_flowers_global_generator(wrapper):
    subject, played = subject_of(wrapper), script(*[0.1] * 10)
    one, again, other = (subject.play(played, seed=seed)[0][SERVER] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert np.abs(np.corrcoef(one, other)[0, 1]) < 0.5


def test_playing_leaves_the_global_generators_as_they_were():
    before = np.random.get_state()[1].tolist(), random.getstate()
    subject_of("server, fixed").play(script(*[0.1] * 10), seed=1)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before


def test_a_client_that_drops_out_is_not_heard_of():
    release = right().play(script(*[100.0] * 10, lost=range(5)), seed=1)[0][SERVER]
    assert release[0] == pytest.approx(0.5, abs=0.4)


def test_a_strategy_that_releases_nothing_has_not_moved():
    release = subject_of("server, fixed").play(script(*[0.1] * 10, lost=range(10)), seed=1)[0][SERVER]
    assert not release.any()


def test_clipping_norms_are_those_before_each_round_and_after_the_last():
    subject = strategy_subject(Adaptive, {}, {}, name="Adaptive")
    norms = subject.clipping_norms(script(*[1e-3] * 10, rounds=5), seed=1)
    assert len(norms) == 6
    assert norms[0] == 1.0
    assert norms[-1] < 0.8  # all are below: it follows them


# -- claims ------------------------------------------------------------------------------------------------


def test_a_claim_is_read_off_the_strategy_in_units_of_the_mean():
    claim = subject_of("server, fixed").claim
    assert claim.sensitivity == {"add_or_remove_one": 0.1, "zero_out": 0.1, "replace_one": 0.2}
    assert (claim.noise_std, claim.cohort, claim.target_quantile, claim.unit) == (0.1, 10, None, "client")


def test_an_adaptive_claim_is_of_the_noise_that_counting_leaves():
    claim = subject_of("server, adaptive").claim
    assert claim.noise_std == pytest.approx((0.5**-2 - (2 * 0.5) ** -2) ** -0.5 / 10)  # Andrew et al. 2021, Theorem 1
    assert claim.target_quantile == 0.5


def test_flowers_target_is_of_the_clipped_and_ours_of_the_unclipped():
    flowers = stock.DifferentialPrivacyServerSideAdaptiveClipping
    arguments = {**TARGETS["server, adaptive"][1], "target_clipped_quantile": 0.2}
    assert strategy_subject(flowers, arguments, {}, name="").claim.target_quantile == pytest.approx(0.8)


def test_a_claim_that_is_given_wins():
    claim = right(clipping_norm=3.0, noise_multiplier=2.0, cohort=5, relation="zero_out", noise_law="laplace").claim
    assert claim.sensitivity == {"zero_out": 0.6}
    assert (claim.noise_std, claim.noise_law, claim.cohort) == (1.2, "laplace", 5)


@pytest.mark.parametrize(
    ("make", "claims", "said"),
    [
        (FedAvg, {}, "does not say its cohort .* claim.cohort="),
        (FedAvg, {"cohort": 4, "clipping_norm": 1}, "does not say its noise multiplier"),
        (Central, {"cohorts": 4}, "nothing can be claimed by claim.cohorts. Known: claim.noise_multiplier"),
        (Central, {"noise_multiplier": 0}, "claims nothing with a noise multiplier of 0"),
        (Central, {"clipping_norm": "one"}, "must be a number"),
        (Central, {"relation": "swap"}, "claim.relation=swap: use one of add_or_remove_one"),
        (Central, {"noise_law": "uniform"}, "use gaussian or laplace"),
        (stock.DifferentialPrivacyServerSideFixedClipping, {}, "could not be made.*num_sampled_clients"),
    ],
)
def test_what_cannot_be_measured_is_told_with_the_mend(make, claims, said):
    with pytest.raises(ConfigError, match=said):
        strategy_subject(make, {}, claims, name="mine")


def test_a_strategy_that_does_not_ask_everybody_is_not_measured():
    claims = {"claim.cohort": 4, "claim.clipping_norm": 1.0, "claim.noise_multiplier": 1.0}
    with pytest.raises(ConfigError, match=r"asks 2 of the 4 nodes.*fraction_train=1.0"):
        measure(FedAvg, {"fraction_train": 0.5, **claims})


def test_a_strategy_that_waits_for_nodes_is_told_of():
    claims = {"cohort": 4, "clipping_norm": 1.0, "noise_multiplier": 1.0}
    subject = strategy_subject(FedAvg, {"min_available_nodes": 5}, claims, name="waits")
    row = measure_property("noise_std", subject)
    assert row.verdict == "fails"
    assert "waits for more nodes than the 4" in row.evidence


# -- Flower's own ------------------------------------------------------------------------------------------

FOUND = [
    ("server, fixed", "sensitivity_replace", "holds", "at most 0.2"),
    ("server, fixed", "noise_std", "holds", "claimed 0.1"),
    # a mean over those who arrived, each with the weight that it asks for, instead of the public number
    ("server, fixed", "sensitivity_add_remove", "fails", r"at most 0.2 .*claimed 0.1"),
    ("server, fixed", "denominator", "fails", "0.1 where all arrive, 0.2 where 5 of 10 drop out"),
    ("server, fixed", "weighting", "fails", "0.925069 with 1000 examples"),
    # noise for ten, shared by six: 0.6 of the claimed multiplier
    ("client, fixed", "dropouts", "fails", r"6 of 10 arrived, noise is 0\.\d+ times .*claimed 1 times"),
    ("server, fixed", "empty_cohort", "fails", "standard deviation 0 "),
    ("server, fixed", "zero_update", "fails", "ZeroDivisionError"),
    ("client, fixed", "zero_update", "fails", "standard deviation 0 "),
    ("client, fixed", "sensitivity_zero_out", "fails", "nothing is released.* because of what one unit sends"),
    ("server, fixed", "nan_update", "fails", "NaN or infinity"),
    ("client, fixed", "nan_update", "fails", "NaN or infinity"),
    ("server, fixed", "integer_parameters", "fails", "UFuncTypeError"),
    ("client, fixed", "integer_parameters", "fails", "nothing is released"),
    # the norm runs away from the updates: exp(-lr (clipped - target)) shrinks it where too many are clipped
    pytest.param(
        *("server, adaptive", "adaptive_clip", "fails", r"quantile 1\.00.*quantile 0\.00.*claimed quantile 0\.50"),
        marks=pytest.mark.slow,
    ),
    # by exp(0.1) and more: noise is drawn after the norm was updated
    ("server, adaptive", "noise_std", "fails", r"standard deviation 0\.06\d+ .*claimed 0\.057735"),
    ("client, adaptive", "adaptive_noise", "fails", r"noise is 0\.25\d* to 0\.31\d* times .*claimed 0\.28868"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("wrapper", "property_", "verdict", "evidence"), FOUND)
def test_flowers_wrappers(wrapper, property_, verdict, evidence):
    row = measure_property(property_, subject_of(wrapper))
    assert row.verdict == verdict
    assert re.search(evidence, row.evidence), row.evidence


def test_flowers_wrappers_do_not_clip_parameters_without_a_dimension():
    row = measure_property("scalar_parameters", subject_of("client, fixed", num_sampled_clients=2))
    assert row.verdict == "fails"
    assert re.search(r"moved a release by at most 1e\+06 .*claimed 1; noise .*claimed 0.5 \(p = 0", row.evidence)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_no_more_and_no_less_fails_of_flowers_wrappers(wrapper):
    verdicts = measure(*TARGETS[wrapper])
    assert {row.property for row in verdicts.failed} == FAILS[wrapper]


def test_the_page_shows_what_fails():
    header, *lines = re.search(r"\| property (\| server, fixed.*?)\n\n", PAGE, flags=re.DOTALL)[1].splitlines()
    names = [cell.strip() for cell in header.strip("| ").split("|")]
    shown = {name: set() for name in names}
    for line in lines[1:]:
        property_, *cells = (cell.strip() for cell in line.strip("| ").split("|"))
        for name, cell in zip(names, cells, strict=True):
            if cell.startswith("**fails**"):
                shown[name].add(property_.strip("`"))
    assert shown == FAILS


def test_what_is_looked_at_here_is_what_the_table_says():
    rows = [getattr(row, "values", row) for row in FOUND]
    assert all((verdict == "fails") == (property_ in FAILS[wrapper]) for wrapper, property_, verdict, _ in rows)


def test_flowers_accountant_refuses_what_it_does_not_account_for():
    from flwr.supercore import privacy_accounting as accounting
    from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant

    relation, sampling = accounting.NeighboringRelation, accounting.SamplingMethod
    config = accounting.PrivacyConfig(1e-5, 10, relation.ADD_OR_REMOVE_ONE, sampling.NO_AMPLIFICATION)

    def make():
        everybody, accountant = FedAvg(min_train_nodes=0, min_available_nodes=0), RdpAccountant(config)
        return stock.DifferentialPrivacyServerSideFixedClipping(everybody, 1.0, 1.0, 10, accountant=accountant)

    subject = strategy_subject(make, {}, {}, name="accounted")
    assert "requires equal client weights" in measure_property("weighting", subject).evidence
    assert "does not match num_sampled_clients" in measure_property("denominator", subject).evidence
    assert measure_property("zero_update", subject).verdict == "fails"


# -- one's own ---------------------------------------------------------------------------------------------

MINE = """
from flwr.serverapp.strategy import DifferentialPrivacyServerSideFixedClipping, FedAvg


class MyStrategy(DifferentialPrivacyServerSideFixedClipping):
    def __init__(self, noise_multiplier):
        super().__init__(FedAvg(min_train_nodes=0, min_available_nodes=0), noise_multiplier, 1.0, 2)
"""


@pytest.mark.slow
def test_a_strategy_in_a_file_of_the_current_folder_is_measured(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    command = [sys.executable, "-m", "fedpriv", "conformance", "mine:MyStrategy", "noise_multiplier=1.0", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    verdicts = {row["property"]: row["verdict"] for row in json.loads(done.stdout)}
    assert verdicts["noise_std"] == "holds"
    assert verdicts["weighting"] == "fails"
    assert done.stderr == ""
