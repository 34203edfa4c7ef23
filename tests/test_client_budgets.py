"""Clients that allow less than others: they release what they allow and no more, across kills, resumes and attempts."""

import math
from collections import Counter, defaultdict

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant

from crash.runs import EVERY_ROUND, ONLY_ENDS, Result, fedpriv, here, ledger, only_run, run_json
from crash.workload import DIGITS
from fedpriv.accounting.client_table import TabledClients
from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.experiment.planning import plan_run
from fedpriv.verification import verify

KILLED = -9
OTHER_NUMPY = ("version", "numpy", "99.0")
_PERMITTED = "fedpriv.experiment.recording:Recorder.permit"
_TRAINED = "fedpriv.federation:FederatedAveraging.run_round"

EIGHT = (*DIGITS, "rounds=8", "partition.num_clients=8", "training.batch_size=90", "privacy.delta=1e-5")
TWO_GROUPS = "privacy.client_budgets=[{epsilon: 2, clients: [1, 4, 5]}, {epsilon: 3.5, share: 0.25}]"
NOISE = ("privacy.epsilon=12", "privacy.noise_multiplier=2.0")
KINDS = {
    "example": ("privacy=example", "privacy.epsilon=12", "privacy.noise_multiplier=2.0", "sampling.cohort=6"),
    "example, calibrated": ("privacy=example", "privacy.epsilon=12", "sampling.cohort=6"),
    "central": ("privacy=central", "sampling.cohort=6", *NOISE),
    "central, calibrated": ("privacy=central", "sampling.cohort=6", "privacy.epsilon=12"),
    "central_adaptive": ("privacy=central_adaptive", "sampling=all", *NOISE),
    "central_per_layer": ("privacy=central_per_layer", "sampling.cohort=6", *NOISE),
    "local_gaussian": ("privacy=local_gaussian", "sampling.cohort=6", *NOISE[:1], "privacy.noise_multiplier=6"),
    "local_laplace": ("privacy=local_laplace", "privacy.epsilon=12"),
}
FAST = ("central",)
ALL_KINDS = pytest.mark.parametrize(
    "kind", [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)


KINDS_KILLED = pytest.mark.parametrize(
    "kind", [kind if kind == "central" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)


def event(entry, rate, multiplier):
    """One noisy sum, in the library's words; replace-one doubles what a report moves."""
    if entry.noise_law == "laplace":
        return dp_accounting.LaplaceDpEvent(multiplier / math.sqrt(2) / 2)
    gaussian = dp_accounting.GaussianDpEvent(multiplier / (2 if entry.mechanism == "local_gaussian" else 1))
    return gaussian if rate == 1 else dp_accounting.PoissonSampledDpEvent(rate, gaussian)


def spent(folder):
    """Epsilon of each client, or of each budget of the run, by dp-accounting alone."""
    events = defaultdict(Counter)
    for entry in ledger(folder):
        if isinstance(entry.clients, str):
            rows = [(budget, entry.rate, entry.noise_multiplier, entry.steps) for budget in entry.budgets]
        elif isinstance(entry.clients, TabledClients):
            table, taken = entry.clients.table, entry.clients.rows
            columns = (table.clients, table.rate, table.noise_multiplier, table.steps)
            rows = list(zip(*(column[taken].tolist() for column in columns), strict=True))
        else:
            rows = list(zip(entry.clients, entry.rate, entry.noise_multiplier, entry.steps, strict=True))
        for who, rate, multiplier, steps in rows:
            events[who][event(entry, rate, multiplier)] += steps
    priced = {}
    for counted in events.values():
        key = frozenset(counted.items())
        if key not in priced:
            accountant = PLDAccountant()
            for one, times in key:
                accountant.compose(one, times)
            priced[key] = accountant.get_epsilon(1e-5)
    return {who: priced[frozenset(counted.items())] for who, counted in events.items()}


def allowances(folder):
    """What each participant of the ledger allows."""
    budgets = run_json(folder)["guarantee"]["client_budgets"]
    if isinstance(ledger(folder)[0].clients, str):
        return {position: budget["epsilon"] for position, budget in enumerate(budgets)}
    return {client: budget["epsilon"] for budget in budgets for client in ids(budget["clients"])}


def ids(ranges):
    for run in ranges.split(","):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def assert_nobody_exceeds(folder):
    allowed = allowances(folder)
    for who, epsilon in spent(folder).items():
        # PLDs of the library round upwards, so its value may be a little above the exact one that ends a client
        assert epsilon <= allowed[who] * 1.002, (who, epsilon)
    stated = run_json(folder)["guarantee"]
    for budget, value in zip(stated["client_budgets"], stated["spent_by_budget"], strict=True):
        assert value <= budget["epsilon"]
    assert stated["epsilon"] == pytest.approx(max(stated["spent_by_budget"]))
    assert here("verify", folder).code == 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    done = {}

    def folder(kind):
        if kind not in done:
            output = tmp_path_factory.mktemp("undisturbed")
            assert fedpriv("run", *EIGHT, *KINDS[kind], TWO_GROUPS, f"output_dir={output}").code == 0
            done[kind] = only_run(output)
        return done[kind]

    return folder


@ALL_KINDS
def test_nobody_exceeds_what_it_allows(kind, undisturbed):
    assert_nobody_exceeds(undisturbed(kind))


@ALL_KINDS
def test_whoever_allows_more_releases_more(kind, undisturbed):
    values = run_json(undisturbed(kind))["guarantee"]["spent_by_budget"]
    assert 0 <= values[0] <= values[1] < values[2]  # where one release costs more than both allow, neither makes any


@pytest.mark.slow
@KINDS_KILLED
def test_killed_in_the_middle_it_ends_in_the_same_bits(kind, tmp_path, undisturbed):
    run = (*EIGHT, *KINDS[kind], TWO_GROUPS, f"output_dir={tmp_path}")
    assert fedpriv("run", *run, deeds=[EVERY_ROUND, ("kill", _TRAINED, "before", 5)]).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(undisturbed(kind))
    assert_nobody_exceeds(folder)


@pytest.mark.slow
@KINDS_KILLED
def test_rounds_that_are_paid_twice_let_clients_retire_earlier(kind, tmp_path, undisturbed):
    run = (*EIGHT, *KINDS[kind], TWO_GROUPS, f"output_dir={tmp_path}")
    deeds = [EVERY_ROUND, ONLY_ENDS, ("kill", _PERMITTED, "after", 3)]
    assert fedpriv("run", *run, deeds=deeds).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY, EVERY_ROUND, ("kill", _PERMITTED, "after", 2)]).code == KILLED
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    assert {entry.attempt for entry in ledger(folder)} == {0, 1}
    assert_nobody_exceeds(folder)


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["local_gaussian", "example"])
def test_nobody_of_more_clients_than_a_ledger_lists_exceeds_across_attempts(privacy, tmp_path):
    """Clients are rows of a table then, which both attempts name."""
    many = ("partition.num_clients=1200", "sampling.cohort=700", "rounds=6", "training.batch_size=1")
    noise = {"local_gaussian": "privacy.noise_multiplier=6", "example": "privacy.noise_multiplier=4"}[privacy]
    budgets = "privacy.client_budgets=[{epsilon: 2, share: 0.3}, {epsilon: 3, share: 0.3}]"
    own = (f"privacy={privacy}", noise, "privacy.epsilon=4", budgets, f"output_dir={tmp_path}")
    deeds = [EVERY_ROUND, ONLY_ENDS, ("kill", _PERMITTED, "after", 3)]
    assert fedpriv("run", *EIGHT, *many, *own, deeds=deeds).code == KILLED
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[OTHER_NUMPY]).code == 0
    entries = ledger(folder)
    assert {entry.attempt for entry in entries} == {0, 1}
    assert all(isinstance(entry.clients, TabledClients) for entry in entries)
    assert_nobody_exceeds(folder)
    values = run_json(folder)["guarantee"]["spent_by_budget"]
    assert 0 < values[0] < values[1] < values[2]


@pytest.mark.slow
def test_forced_again_it_is_the_same_release(tmp_path, undisturbed):
    run = (*EIGHT, *KINDS["central"], TWO_GROUPS, f"output_dir={tmp_path}")
    assert fedpriv("run", *run).code == 0
    assert fedpriv("run", *run, "force=true").code == 0
    folder = only_run(tmp_path)
    assert Result.of(folder).model == Result.of(undisturbed("central")).model
    assert_nobody_exceeds(folder)


@pytest.mark.slow
def test_retired_clients_are_in_no_cohort(undisturbed):
    entries = ledger(undisturbed("example"))
    strict = [1, 4, 5]
    counts = Counter(client for entry in entries for client in entry.clients)
    assert max(counts[client] for client in strict) < min(counts[client] for client in set(range(8)) - set(strict))
    central = ledger(undisturbed("central"))
    assert central[0].budgets == (0, 1, 2)
    lasting = [sum(position in entry.budgets for entry in central) for position in range(3)]
    assert lasting[0] < lasting[1] < lasting[2]


def test_the_plan_is_what_the_run_states(undisturbed):
    for kind in FAST:
        planned = plan_run(compose([*EIGHT, *KINDS[kind], TWO_GROUPS], config_dir=None))
        stated = run_json(undisturbed(kind))["guarantee"]
        assert planned["epsilon"] == stated["epsilon"]
        assert [one["spent"] for one in planned["client_budgets"]] == stated["spent_by_budget"]
        assert sum(one["clients"] for one in planned["client_budgets"]) == 8


@pytest.mark.slow
def test_a_report_shows_nobody_above_what_it_allows(undisturbed):
    from fedpriv.reports.html.client_epsilons import client_epsilons
    from fedpriv.runs import load

    folder = undisturbed("example")
    shown, allowed, exact = client_epsilons(next(iter(load(folder)))), allowances(folder), spent(folder)
    assert shown.keys() == exact.keys()
    for client, value in shown.items():
        assert exact[client] * 0.998 <= value <= allowed[client]


def planned(*asked):
    return plan_run(compose([*EIGHT, *asked], config_dir=None))


@pytest.mark.parametrize(
    "asked", [("privacy=example", *NOISE), ("privacy=local_gaussian", NOISE[0], "privacy.noise_multiplier=6")]
)
def test_where_everybody_is_asked_a_plan_knows_who_has_left(asked):
    """``sampling=all`` draws everybody who is left, not whoever was there in the first round."""
    told = planned(*asked, TWO_GROUPS)
    for one in told["client_budgets"]:
        assert 0 < one["spent"] <= one["epsilon"]
    assert told["client_budgets"][0]["spent"] < told["client_budgets"][1]["spent"]


def test_cohorts_that_are_empty_by_chance_end_no_run():
    rarely = ("sampling=poisson", "sampling.cohort=0.3", "privacy.noise_multiplier=60", "privacy.epsilon=12")
    told = planned("privacy=local_gaussian", *rarely, TWO_GROUPS)
    assert told["rounds"] == planned("privacy=local_gaussian", *rarely)["rounds"] == 8
    assert not told["stops_early"]


def test_a_run_ends_when_nobody_is_left(tmp_path):
    everybody = "privacy.client_budgets=[{epsilon: 3, share: 1}]"
    assert fedpriv("run", *EIGHT, *KINDS["central"], everybody, f"output_dir={tmp_path}").code == 0
    record = run_json(only_run(tmp_path))
    assert record["status"] == "stopped_at_budget"
    assert 0 < record["rounds"] < 8
    assert_nobody_exceeds(only_run(tmp_path))


def test_whom_no_coin_draws_is_not_said_to_allow_too_little(tmp_path):
    seldom = ("privacy=local_gaussian", "sampling=fixed_size", "sampling.cohort=1", "privacy.noise_multiplier=60")
    lenient = "privacy.client_budgets=[{epsilon: 11, share: 0.5}]"
    run = (*EIGHT, *seldom, "rounds=2", "privacy.epsilon=12", lenient)
    ended = here("run", *run, f"output_dir={tmp_path}")
    assert ended.code == 0
    assert "take no part" not in ended.out


def test_what_no_client_allows_is_refused_by_name(tmp_path):
    nothing = "privacy.client_budgets=[{epsilon: 0.01, share: 1}]"
    ended = here("run", *EIGHT, *KINDS["central"], nothing, f"output_dir={tmp_path}")
    assert "privacy.epsilon=12 and privacy.client_budgets do not allow even one round" in ended.message


def test_whoever_allows_less_than_a_round_takes_no_part(tmp_path):
    tiny = "privacy.client_budgets=[{epsilon: 0.01, clients: [2]}]"
    ended = fedpriv("run", *EIGHT, *KINDS["example"], tiny, f"output_dir={tmp_path}")
    assert ended.code == 0
    assert "1 clients take no part" in ended.out
    assert all(2 not in entry.clients for entry in ledger(only_run(tmp_path)))


@pytest.mark.slow
def test_a_mean_is_over_those_who_are_left(undisturbed):
    from fedpriv.experiment.assembly import Experiment

    experiment = Experiment.assemble(compose([*EIGHT, *KINDS["central"], TWO_GROUPS], config_dir=None))
    privacy, streams = experiment.privacy, experiment.streams(None)
    found = privacy.retirement(privacy.noise_multipliers(), streams, paid=(), since=0, attempt=0)
    sampler = privacy.sampler(streams, found)
    assert sampler.expected(1) == pytest.approx(6)
    entries = ledger(undisturbed("central"))
    strict_out = next(entry.round for entry in entries if entry.budgets == (1, 2))
    assert sampler.expected(strict_out) == pytest.approx(6 * 5 / 8)


@pytest.mark.parametrize("change", ["overspent", "unnamed", "everybody"])
def test_verify_sees_through_other_budgets(change, tmp_path):
    """Whoever writes other terms into the log must find a ledger that fits them."""
    from fedpriv.accounting.client_budgets import ClientBudget
    from fedpriv.accounting.guarantee import state_guarantee
    from fedpriv.accounting.terms import Terms
    from fedpriv.records.hashchain import read_chain
    from fedpriv.records.run_folder import RunFolder

    assert fedpriv("run", *EIGHT, *KINDS["central"], TWO_GROUPS, f"output_dir={tmp_path}").code == 0
    folder = RunFolder(only_run(tmp_path))
    mark = run_json(folder.path)["audit"]
    log = read_chain(folder.audit, trusted_count=mark["count"], trusted_head=mark["head"], exact=True)
    logged = next(line for line in log if line["event"] == "started")["terms"][0]
    terms = Terms.from_json(logged)
    entries = ledger(folder.path)
    assert state_guarantee(entries, terms=terms) is not None
    least, *others = terms.client_budgets
    mended = {
        "overspent": (ClientBudget(epsilon=0.5, clients=least.clients), *others),
        "unnamed": (least, *others[:1]),
        "everybody": (),
    }[change]
    with pytest.raises(ConfigError):
        state_guarantee(entries, terms=Terms(**{**vars(terms), "client_budgets": mended}))
    assert verify(folder.path).holds


def test_a_column_says_who_allows_what(tmp_path):
    from fedpriv.experiment.privacy.client_budgets import client_budgets

    turned = (*EIGHT, "partition=rotations", "partition.turns=2", "partition.num_clients=8")
    rule = "privacy.client_budgets=[{epsilon: 1, column: rotation, value: 1}]"
    config = compose([*turned, *KINDS["central"], rule], config_dir=None)
    from fedpriv.experiment.assembly import Experiment

    experiment = Experiment.assemble(config)
    strict, others = client_budgets(config, experiment.data, experiment.streams(None))
    groups = experiment.data.groups["rotation"]
    turned_clients = [k for k in range(8) if (groups[experiment.data.clients[k]] == 1).any()]
    assert strict.ids.tolist() == turned_clients
    assert np.intersect1d(strict.ids, others.ids).size == 0


REFUSED = {
    "[{epsilon: 20, share: 0.5}]": "at most privacy.epsilon=12",
    "[{epsilon: 0, share: 0.5}]": "positive number",
    "[{epsilon: 1}]": "must be",
    "[{epsilon: 1, share: 0.5, clients: [1]}]": "must be",
    "[{epsilon: 1, share: 1.5}]": "must be in (0, 1]",
    "[{epsilon: 1, clients: [99]}]": "clients are 0 to 7",
    "[{epsilon: 1, clients: [a]}]": "list of client ids",
    "[{epsilon: 1, column: colour, value: 1}]": "no column colour",
    "[{epsilon: 1, column: colour, value: red}]": "must be a code",
    "[{epsilon: 1, share: 1}, {epsilon: 2, clients: [3]}]": "no client of the training population is left",
    "[1]": "must be",
}


@pytest.mark.slow
@pytest.mark.parametrize("rules", REFUSED)
def test_rules_that_make_no_sense_are_refused(rules, tmp_path):
    ended = here("run", *EIGHT, *KINDS["central"], f"privacy.client_budgets={rules}", f"output_dir={tmp_path}")
    assert ended.code == 2
    assert REFUSED[rules] in ended.message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (("privacy=none",), "has no meaning"),
        (("privacy=ftrl_tree", "privacy.epsilon=8"), "has no meaning"),
        (("privacy=distributed", "privacy.epsilon=8"), "has no meaning"),
        (("privacy=both_units", "privacy.epsilon=8"), "has no meaning"),
        (("privacy=central", "privacy.epsilon=inf"), "means no noise"),
        (("privacy=central", "privacy.epsilon=8", "sampling=fixed_size", "sampling.cohort=4"), "coins of their own"),
        (("privacy=central", "privacy.epsilon=8", "sampling=round_robin", "sampling.cohort=4"), "coins of their own"),
    ],
)
def test_choices_that_have_no_such_budgets_say_so(choice, reason, tmp_path):
    ended = here("run", *EIGHT, *choice, TWO_GROUPS, f"output_dir={tmp_path}")
    assert ended.code == 2
    assert reason in ended.message
