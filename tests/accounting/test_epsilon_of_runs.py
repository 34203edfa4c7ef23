"""Real runs: epsilon recomputed from the ledger's raw numbers by a second library, and the noise as it was added.

Tolerances between accountants: RDP relative 1e-3 (grids of orders), PLD against PRV absolute 0.011 (PRV's error
interval), closed forms relative 1e-6.
"""

import json
import math
import warnings
from collections import Counter, defaultdict

import dp_accounting
import numpy as np
import pyarrow.parquet as pq
import pytest
from absl import logging as absl_logging
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from opacus.accountants import PRVAccountant
from opacus.accountants import RDPAccountant as OpacusRDPAccountant
from safetensors.torch import load_file
from scipy import optimize, stats

from fedpriv.config import compose
from fedpriv.errors import BudgetExhaustedError, ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.privacy.mechanisms import CentralGaussian
from fedpriv.records.run_folder import RunFolder
from fedpriv.tracking import Callback

absl_logging.set_verbosity(absl_logging.ERROR)  # dp-accounting warns of every order that it leaves out

ADD_OR_REMOVE = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE = dp_accounting.NeighboringRelation.REPLACE_ONE


# -- the ledger's raw numbers ------------------------------------------------------------------------------


def ledger(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def histories(entries):
    """Participant -> {(noise std / sensitivity, rate): steps}; at client level there is one participant."""
    totals = defaultdict(Counter)
    for entry in entries:
        rate, std, steps, clients = entry["sampling"]["rate"], entry["noise_std"], entry["steps"], entry["clients"]
        if isinstance(clients, str):
            clients, rate, std, steps = ["everybody"], [rate], [std], [steps]
        for client, q, sigma, count in zip(clients, rate, std, steps, strict=True):
            totals[client][sigma / entry["sensitivity"], q] += count
    return totals


def table(folder, name):
    return pq.read_table(folder / f"{name}.parquet").to_pydict()


# -- second libraries --------------------------------------------------------------------------------------


def opacus_rdp(history, delta):
    return _opacus(OpacusRDPAccountant(), history, delta)


def prv(history, delta):
    return _opacus(PRVAccountant(), history, delta)


def _opacus(accountant, history, delta):
    accountant.history = [(z, q, steps) for (z, q), steps in history.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def pld(history, delta):
    accountant = PLDAccountant(ADD_OR_REMOVE, 1e-3)
    for (z, q), steps in history.items():
        accountant.compose(dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(z)), steps)
    return float(accountant.get_epsilon(delta))


def rdp(history, delta):
    accountant = RdpAccountant(neighboring_relation=ADD_OR_REMOVE)
    for (z, q), steps in history.items():
        accountant.compose(dp_accounting.PoissonSampledDpEvent(q, dp_accounting.GaussianDpEvent(z)), steps)
    return float(accountant.get_epsilon(delta))


def fixed_size_rdp(history, delta, *, population):
    """dp-accounting doesn't double the sensitivity of replace-one by itself: half the noise multiplier."""
    accountant = RdpAccountant(neighboring_relation=REPLACE)
    for (z, q), steps in history.items():
        half = dp_accounting.GaussianDpEvent(z / 2)
        cohort = round(q * population)
        accountant.compose(dp_accounting.SampledWithoutReplacementDpEvent(population, cohort, half), steps)
    return float(accountant.get_epsilon(delta))


def gaussian(history, delta, *, sensitivity):
    """Balle & Wang 2018, theorem 8: all of it unsampled, mu = sensitivity sqrt(sum of 1 / z^2)."""
    mu = sensitivity * math.sqrt(sum(steps / z**2 for (z, _), steps in history.items()))

    def excess(epsilon):
        gain = stats.norm.cdf(mu / 2 - epsilon / mu)
        return gain - math.exp(epsilon + stats.norm.logcdf(-mu / 2 - epsilon / mu)) - delta

    return optimize.brentq(excess, 0, mu**2 + 50 * mu + 50, xtol=1e-12)


# -- epsilon -----------------------------------------------------------------------------------------------

SAMPLED_CLIENTS = ("privacy=central", "partition.num_clients=50", "sampling.cohort=5", "privacy.delta=1e-3")
UNEQUAL = ("partition=dirichlet", "partition.num_clients=4", "partition.min_examples=40")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "second", "tolerance"),
    [
        (UNEQUAL, prv, {"abs": 0.011}),
        ((*UNEQUAL, "privacy.epsilon=1"), prv, {"abs": 0.011}),
        # at larger epsilon the best order is near 1, where dp-accounting's series don't converge
        ((*UNEQUAL, "privacy.accountant=rdp", "privacy.epsilon=2"), opacus_rdp, {"rel": 1e-3}),
        ((*UNEQUAL, "privacy.accountant=opacus_rdp", "privacy.epsilon=2"), rdp, {"rel": 1e-3}),
        (("partition.num_clients=2", "privacy.accountant=prv", "rounds=2"), pld, {"abs": 0.011}),
        ((*UNEQUAL, "sampling.cohort=2", "rounds=5"), prv, {"abs": 0.011}),
        ((*UNEQUAL, "sampling=poisson", "sampling.cohort=2", "rounds=5"), prv, {"abs": 0.011}),
    ],
)
def test_example_level_epsilon_is_the_second_librarys_maximum_over_clients(run_digits, overrides, second, tolerance):
    ran = run_digits(*overrides)
    stated = ran.record.guarantee
    target = float(next((o.split("=")[1] for o in overrides if o.startswith("privacy.epsilon=")), 8))
    each = {client: second(history, stated["delta"]) for client, history in histories(ledger(ran.folder)).items()}
    assert stated["epsilon"] == pytest.approx(max(each.values()), **tolerance)
    assert target * 0.998 <= stated["epsilon"] <= target
    assert each[stated["worst_client"]] == pytest.approx(max(each.values()), abs=0.011)
    assert stated["unit"] == "example"
    assert stated["delta"] == pytest.approx(1438**-1.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "second", "tolerance"),
    [
        (("sampling.cohort=5",), prv, {"abs": 0.011}),
        (("sampling.cohort=5", "privacy.accountant=rdp"), opacus_rdp, {"rel": 1e-3}),
        (("sampling.cohort=5", "privacy.accountant=prv"), pld, {"abs": 0.011}),
        (("sampling.cohort=5", "privacy.relation=zero_out"), prv, {"abs": 0.011}),
        (("sampling=all",), lambda h, d: gaussian(h, d, sensitivity=1), {"rel": 1e-6}),
        (("sampling=all", "privacy.relation=replace_one"), lambda h, d: gaussian(h, d, sensitivity=2), {"rel": 1e-6}),
        (
            ("sampling=fixed_size", "sampling.cohort=5"),
            lambda h, d: min(fixed_size_rdp(h, d, population=50), gaussian(h, d, sensitivity=2)),
            {"rel": 1e-3},
        ),
        (
            ("sampling=fixed_size", "sampling.cohort=5", "privacy.relation=zero_out"),
            lambda h, d: min(fixed_size_rdp(h, d, population=50), gaussian(h, d, sensitivity=1)),
            {"rel": 1e-3},
        ),
    ],
)
def test_client_level_epsilon_is_the_second_librarys(run_digits, overrides, second, tolerance):
    delta, epsilon = 1e-3, 2
    ran = run_digits(
        "privacy=central",
        "partition.num_clients=50",
        f"privacy.delta={delta}",
        f"privacy.epsilon={epsilon}",
        *overrides,
    )
    stated, entries = ran.record.guarantee, ledger(ran.folder)
    [history] = histories(entries).values()
    assert sum(history.values()) == len(entries) == 3
    assert stated["epsilon"] == pytest.approx(second(history, delta), **tolerance)
    assert epsilon * 0.998 <= stated["epsilon"] <= epsilon
    assert stated["unit"] == "client"


@pytest.mark.slow
def test_cohorts_of_fixed_size_cost_more_than_poisson_ones(run_digits):
    """Lebeda et al. 2024: never accounted as Poisson."""
    noise = ("privacy.epsilon=null", "privacy.noise_multiplier=1.5")
    fixed, poisson = (run_digits(*SAMPLED_CLIENTS, *noise, f"sampling={kind}") for kind in ("fixed_size", "poisson"))
    assert fixed.record.guarantee["epsilon"] > 1.5 * poisson.record.guarantee["epsilon"]
    assert fixed.record.guarantee["relation"] == "replace_one"
    assert fixed.record.guarantee["sampling"]["kind"] == "fixed_size"


def test_a_clients_own_participations_are_what_it_pays_for(run_digits):
    """Cohorts of 2 of 4 in 5 rounds: some take part more often, and are calibrated for it."""
    ran = run_digits(*UNEQUAL, "sampling.cohort=2", "rounds=5")
    entries = ledger(ran.folder)
    rows = table(ran.folder, "clients")
    seen = Counter(rows["client"])
    assert Counter(client for entry in entries for client in entry["clients"]) == seen
    assert len(set(seen.values())) > 1
    assert all(len(entry["clients"]) == 2 for entry in entries)
    for client, history in histories(entries).items():
        [((noise, rate), steps)] = history.items()
        assert steps % seen[client] == 0
        assert pld({(noise, rate): steps}, ran.record.guarantee["delta"]) <= 8 + 2e-3


@pytest.mark.slow
def test_shared_calibration_gives_everybody_the_worst_clients_noise(run_digits):
    own = histories(ledger(run_digits(*UNEQUAL).folder))
    shared = histories(ledger(run_digits(*UNEQUAL, "privacy.calibration=shared").folder))
    noises = {z for history in shared.values() for z, _ in history}
    assert noises == {max(z for history in own.values() for z, _ in history)}
    assert len({z for history in own.values() for z, _ in history}) > 2


def test_epsilon_of_each_round_never_falls_and_ends_above_the_truth(run_digits):
    ran = run_digits(
        "privacy=central", "partition.num_clients=50", "sampling.cohort=5", "privacy.delta=1e-3", "rounds=6"
    )
    entries = ledger(ran.folder)
    rows = table(ran.folder, "rounds")["epsilon"]
    assert rows == sorted(rows)
    for count, stated in enumerate(rows, start=1):
        [history] = histories(entries[:count]).values()
        assert stated >= pld(history, 1e-3) - 2e-3
    assert rows[-1] == pytest.approx(ran.record.guarantee["epsilon"], abs=0.011)


@pytest.mark.parametrize(("mechanism", "drawn_anew"), [("central", True), ("example", False)])
def test_cohorts_that_amplify_are_drawn_anew_for_another_attempt(mechanism, drawn_anew):
    """Two releases of a round are accounted as two independent samples: one cohort for both would cost more.

    At example level cohorts claim nothing, and calibration rests on their schedule.
    """
    overrides = ["experiment=digits_smoke", f"privacy={mechanism}", "sampling=poisson", "sampling.cohort=4"]
    experiment = Experiment.assemble(compose(overrides, config_dir=None))
    for key in (None, bytes(16)):
        schedules = [
            [experiment.sampler(experiment.streams(key, attempt=a)).cohort(r).tolist() for r in range(1, 9)]
            for a in (0, 1, 2)
        ]
        distinct = {json.dumps(schedule) for schedule in schedules}
        assert len(distinct) == (3 if drawn_anew else 1)


# -- budget ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        ("privacy.noise_multiplier=1.2", *UNEQUAL, "sampling.cohort=2"),
        (*SAMPLED_CLIENTS, "privacy.noise_multiplier=0.5"),
        ("privacy=central", "privacy.noise_multiplier=2.5", "privacy.delta=1e-3"),
    ],
)
def test_a_run_stops_before_the_release_that_would_exceed_the_budget(run_digits, overrides):
    budget = 5.0
    ran = run_digits(*overrides, f"privacy.epsilon={budget}", "rounds=30")
    entries, stated = ledger(ran.folder), ran.record.guarantee
    assert ran.record.status == "stopped_at_budget"
    assert 0 < ran.record.rounds == len(entries) < 30
    assert stated["epsilon"] <= budget
    judge = pld if "poisson" in {e["sampling"]["kind"] for e in entries} else lambda h, d: gaussian(h, d, sensitivity=1)
    spent = histories(entries)
    assert max(judge(history, stated["delta"]) for history in spent.values()) <= budget + 1e-3
    # the next round, as a longer budget lets it happen
    longer = run_digits(*overrides, "privacy.epsilon=null", f"rounds={len(entries) + 1}")
    more = ledger(longer.folder)
    assert len(more) == len(entries) + 1
    assert max(judge(history, stated["delta"]) for history in histories(more).values()) > budget


@pytest.mark.parametrize("mechanism", ["example", "central"])
def test_a_budget_too_small_for_one_release_releases_nothing(run_digits, mechanism, tmp_path):
    with pytest.raises(BudgetExhaustedError, match=r"epsilon=0\.01"):
        run_digits(f"privacy={mechanism}", "privacy.noise_multiplier=0.5", "privacy.epsilon=0.01", output_dir=tmp_path)
    assert not any(path.read_text() for path in tmp_path.rglob("ledger.jsonl"))
    assert not list(tmp_path.rglob("model.safetensors"))


def test_no_noise_multiplier_and_no_limit_claims_what_it_costs(run_digits):
    ran = run_digits("privacy.epsilon=null", "privacy.noise_multiplier=1.0")
    assert ran.record.status == "completed"
    each = [pld(history, ran.record.guarantee["delta"]) for history in histories(ledger(ran.folder)).values()]
    assert ran.record.guarantee["epsilon"] == pytest.approx(max(each), abs=2e-3)


# -- the noise, as the run added it ------------------------------------------------------------------------

WIDE_MODEL = ("model=mlp", "model.hidden=[200]", "rounds=1")


def parameters(ran):
    tensors = load_file(ran.folder / "model.safetensors")
    return np.concatenate([tensors[name].numpy().astype(np.float64).ravel() for name in sorted(tensors)])


def noise_in_the_model(run_digits, *overrides, **fresh):
    """The released model of one round minus the same without noise, and both runs."""
    noisy, quiet = (
        run_digits(*WIDE_MODEL, *overrides, *choice, **fresh)
        for choice in (("privacy.epsilon=null", "privacy.noise_multiplier=1.5"), ("privacy.epsilon=inf",))
    )
    return parameters(noisy) - parameters(quiet), noisy, quiet


CENTRAL = ("privacy=central", "partition.num_clients=20", "privacy.clipping_norm=0.3")


@pytest.mark.parametrize(
    "overrides",
    [
        ("sampling=all",),
        ("sampling=all", "federation.dropout=0.5"),
        ("sampling=poisson", "sampling.cohort=8"),
        ("sampling=poisson", "sampling.cohort=8", "federation.dropout=0.5"),
        ("sampling=fixed_size", "sampling.cohort=8"),
    ],
)
def test_the_released_model_holds_the_noise_of_the_ledger_at_client_level(run_digits, judge, overrides):
    noise, noisy, _ = noise_in_the_model(run_digits, *CENTRAL, *overrides)
    [entry] = ledger(noisy.folder)
    public_cohort = 20 if overrides[0] == "sampling=all" else 8
    claimed = entry["noise_std"] / public_cohort
    assert entry["noise_std"] == pytest.approx(1.5 * 0.3)
    assert judge.has_std(noise, claimed)
    assert judge.is_gaussian(noise, claimed)
    for wrong in (2 / 3, 0.95, 1.05, 3 / 2):
        assert not judge.has_std(noise, wrong * claimed)


def test_planted_fault_smaller_noise_is_caught(run_digits, monkeypatch, tmp_path):
    """A ledger that says one number twice, differently, earns no statement."""
    monkeypatch.setattr(
        CentralGaussian, "noise_std", property(lambda self: self.noise_multiplier * self.grid.clipping_norm * 2 / 3)
    )
    with pytest.raises(ConfigError, match="noise_std is not its noise_multiplier"):
        noise_in_the_model(run_digits, *CENTRAL, "sampling=all", output_dir=tmp_path)


def test_the_released_model_holds_the_noise_of_the_ledger_at_example_level(run_digits, judge):
    """One step a client: the mean over clients, weighted by their sizes, of lr noise_k / expected batch."""
    noise, noisy, _ = noise_in_the_model(run_digits, *UNEQUAL, "training.batch_size=2000", "privacy.max_grad_norm=0.6")
    [entry] = ledger(noisy.folder)
    assert set(entry["steps"]) == {1}
    sizes = np.array(table(noisy.folder, "clients")["diagnostic_examples"])
    assert sizes.sum() == 1438, "full batches, so that examples seen are the client's size"
    weights = sizes / sizes.sum()
    of_each = 0.5 * weights * np.array(entry["noise_std"]) / sizes
    claimed = math.sqrt((of_each**2).sum())
    assert set(entry["noise_std"]) == {1.5 * 0.6}
    assert judge.has_std(noise, claimed)
    assert judge.is_gaussian(noise, claimed)
    for wrong in (2 / 3, 0.95, 1.05, 3 / 2):
        assert not judge.has_std(noise, wrong * claimed)
    assert not judge.has_std(noise, of_each.sum()), "what noise shared between clients would have looked like"


@pytest.mark.parametrize(
    ("overrides", "clipped"),
    [
        (("privacy=example",), "diagnostic_clipped_examples"),
        (("privacy=central", "sampling.cohort=4"), "diagnostic_clipped"),
    ],
    ids=["example", "central"],
)
def test_infinite_epsilon_is_the_same_run_without_noise(run_digits, overrides, clipped):
    """Same clipping, same cohorts, same batches; no ledger and no claim: null, neither 0 nor infinity."""
    noisy, quiet = (run_digits(*overrides, f"privacy.epsilon={epsilon}", "rounds=4") for epsilon in ("8", "inf"))
    assert quiet.record.guarantee is None
    assert quiet.record.guarantees == []
    assert json.loads((quiet.folder / "run.json").read_text())["guarantee"] is None
    assert ledger(quiet.folder) == []
    assert len(ledger(noisy.folder)) == 4
    one, two = table(noisy.folder, "clients"), table(quiet.folder, "clients")
    for column in ("round", "client", "status", "diagnostic_examples"):
        assert one[column] == two[column]
    first = np.asarray(one["round"]) == min(one["round"])
    rates, same = (np.asarray(columns[clipped])[first] for columns in (one, two))
    np.testing.assert_array_equal(rates, same)
    assert np.nanmax(rates) > 0
    assert not np.array_equal(parameters(noisy), parameters(quiet))


def test_no_privacy_claims_nothing(run_digits):
    ran = run_digits("privacy=none")
    assert ran.record.guarantee is None
    assert ledger(ran.folder) == []


@pytest.mark.parametrize("overrides", [("privacy=example",), ("privacy=central", "sampling.cohort=4")])
def test_dropouts_leave_the_ledger_as_it_is(run_digits, overrides):
    whole, thin = (run_digits(*overrides, f"federation.dropout={chance}") for chance in (0.0, 0.6))
    assert (whole.folder / "ledger.jsonl").read_bytes() == (thin.folder / "ledger.jsonl").read_bytes()
    assert whole.record.guarantee["epsilon"] == thin.record.guarantee["epsilon"]
    assert sum(table(thin.folder, "rounds")["dropped"]) > 0


def test_clients_without_examples_are_in_nobodys_ledger(run_digits):
    ran = run_digits(
        "partition=dirichlet", "partition.alpha=0.02", "partition.num_clients=30", "partition.min_examples=0"
    )
    entries = ledger(ran.folder)
    assert all(0 < len(entry["clients"]) < 20 for entry in entries)
    assert all(std > 0 and math.isfinite(std) for entry in entries for std in entry["noise_std"])
    assert ran.record.guarantee["epsilon"] <= 8


# -- secret noise ------------------------------------------------------------------------------------------


class WatchesTheKey(Callback):
    """Looks at the key file while the run trains."""

    def __init__(self):
        self.folder, self.keys, self.modes = None, set(), set()

    def started(self, folder, *, rounds_done, last_round, notes):
        self.folder = folder

    def round_done(self, row, failures):
        path = RunFolder(self.folder).noise_key
        self.keys.add(path.read_bytes())
        self.modes.add(path.stat().st_mode & 0o777)


@pytest.mark.parametrize("overrides", [("privacy=example",), ("privacy=central", "sampling.cohort=4")])
def test_secret_noise_is_owner_only_gone_afterwards_and_never_the_same(run_digits, overrides, judge):
    ran = [run_digits(*overrides, "seeds.noise=secret", "rounds=4", reporter=WatchesTheKey()) for _ in range(2)]
    keys = [run.reporter.keys for run in ran]
    assert all(len(seen) == 1 for seen in keys)
    assert keys[0] != keys[1]
    for run in ran:
        [key] = run.reporter.keys
        assert len(key) == 16
        assert run.reporter.modes == {0o600}
        assert not RunFolder(run.folder).noise_key.exists()
        stated = run.record.guarantee
        assert stated["noise_secret"] is True
        assert not any("simulation only" in text for text in stated["not_covered"])
        for path in run.folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert key not in content
                assert key.hex().encode() not in content.lower()
    assert not np.array_equal(parameters(ran[0]), parameters(ran[1]))
    one, two = (table(run.folder, "clients") for run in ran)
    if overrides[0] == "privacy=central":
        # the coins of cohorts, which amplification rests on; the commitments don't tell either
        assert (one["round"], one["client"]) != (two["round"], two["client"])
        commitments = [{entry["clients"] for entry in ledger(run.folder)} for run in ran]
        assert len(commitments[0]) == 4
        assert not commitments[0] & commitments[1]
    else:
        # everybody takes part; the coins of batches differ
        assert one["client"] == two["client"]
        assert one["diagnostic_examples"] != two["diagnostic_examples"]


def test_recorded_noise_is_called_a_simulation(run_digits):
    stated = run_digits().record.guarantee
    assert stated["noise_secret"] is False
    assert any("simulation only" in text for text in stated["not_covered"])


@pytest.mark.parametrize(
    ("seed", "same"), [("seeds.noise=5", ("cohort", "batches")), ("seeds.sampling=5", ()), ("seed=5", ())]
)
def test_each_seed_moves_its_own_coins(run_digits, seed, same):
    given = ("privacy=central", "sampling.cohort=4", "rounds=4", "privacy.noise_multiplier=1", "privacy.epsilon=null")
    base, moved = run_digits(*given), run_digits(*given, seed)
    assert not np.array_equal(parameters(base), parameters(moved))
    one, two = table(base.folder, "clients"), table(moved.folder, "clients")
    assert ((one["round"], one["client"]) == (two["round"], two["client"])) == ("cohort" in same)
