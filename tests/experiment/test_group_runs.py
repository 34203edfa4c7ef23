"""Runs whose data names sensitive groups: what their folder says of them, what they cost, and what is refused."""

import json

import numpy as np
import pytest

from fedpriv.config import compose, run_id
from fedpriv.errors import ConfigError, DataError, InterruptedRunError
from fedpriv.experiment import run
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attempt import Attempt
from fedpriv.records.tables import read_table
from fedpriv.tracking import Callback
from fedpriv.verification import verify


class Silent(Callback):
    """Notes the folder only."""

    def started(self, folder, *, rounds_done, last_round, notes):
        self.folder = folder


NORMS = "privacy.group_norms={sex: {m: 0.25}}"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A table where the sensitive column is no feature; women's labels are noise."""
    rng, rows = np.random.default_rng(3), ["age,height,sex,sick"]
    for n in range(600):
        age, height, sex = rng.integers(20, 80), rng.integers(150, 200), "fm"[n % 3 > 0]
        sick = rng.integers(2) if sex == "f" else age > 50
        rows.append(f"{age},{height},{sex},{int(sick)}")
    file = tmp_path_factory.mktemp("people") / "people.csv"
    file.write_text("\n".join(rows))
    return file


@pytest.fixture(scope="module")
def run_people(people, tmp_path_factory):
    def run_with(*overrides, groups="[sex]", folder=None):
        given = [
            *("data=table", f"data.path={people}", "data.label=sick", "model=logistic", "task=binary"),
            *("+data.numeric.age=[20,80]", "+data.numeric.height=[150,200]", f"data.groups={groups}", "rounds=3"),
            *("partition=iid", "partition.num_clients=12", "training.lr=2.0"),
            *(() if "privacy=none" in overrides else ("privacy.epsilon=8",)),
            f"output_dir={folder or tmp_path_factory.mktemp('runs')}",
        ]
        reporter = Silent()
        record = run(compose([*given, *overrides], config_dir=None), reporter=reporter)
        return record, reporter.folder

    return run_with


@pytest.fixture(scope="module")
def plain(run_people):
    return run_people()


def test_run_json_says_how_each_group_fares(plain):
    record, folder = plain
    found = json.loads((folder / "run.json").read_text())["fairness"]["sex"]
    assert found.keys() >= {"demographic_parity_difference", "equalized_odds_difference", "accuracy_by_group"}
    counts = found["test_examples_by_group"]
    mean = sum(found["accuracy_by_group"][name] * counts[name] for name in counts) / sum(counts.values())
    assert mean == pytest.approx(record.metrics["test_accuracy"])
    assert found["accuracy_by_group"]["m"] > 0.75 > found["accuracy_by_group"]["f"]
    assert found["diagnostic_training_examples_by_group"] == {"f": 200 - counts["f"], "m": 400 - counts["m"]}


def test_clip_rates_by_group_are_the_tables(plain):
    record, folder = plain
    table = read_table(folder, "clients").to_pandas()
    total = sum(table[f"diagnostic_examples_sex_{name}"].sum() for name in "fm")
    assert total == table["diagnostic_examples"].sum()
    rates = record.extra["fairness"]["sex"]["diagnostic_clip_rate_by_group"]
    clipped = sum(rates[name] * table[f"diagnostic_examples_sex_{name}"].sum() for name in "fm")
    assert clipped == pytest.approx((table["diagnostic_clipped_examples"] * table["diagnostic_examples"]).sum())
    assert 0 < rates["m"] < 1


def test_deciles_by_size_are_of_all_clients(plain):
    by_size = plain[0].extra["diagnostic_clients_by_size"]
    assert by_size["clients"] == [2.0, 2.0] + [1.0] * 8
    assert {"accuracy", "loss", "clip_rate"} <= by_size.keys()
    assert by_size["examples"] == sorted(by_size["examples"])


def test_naming_a_group_changes_neither_weights_nor_epsilon(plain, run_people):
    record, folder = run_people(groups="[]")
    assert "fairness" not in record.extra
    assert (folder / "model.safetensors").read_bytes() == (plain[1] / "model.safetensors").read_bytes()
    assert record.guarantee["epsilon"] == plain[0].guarantee["epsilon"]
    assert (folder / "ledger.jsonl").read_bytes() == (plain[1] / "ledger.jsonl").read_bytes()


@pytest.mark.slow
def test_at_client_level_and_without_privacy_groups_are_told_too(run_people):
    given = ["privacy=central", "privacy.accept_weak_delta=true", "privacy.clipping_norm=0.1"]
    at_clients = run_people(*given)[0].extra["fairness"]["sex"]
    assert 0 < at_clients["diagnostic_clip_rate_by_group"]["f"] <= 1
    without = run_people("privacy=none")[0].extra["fairness"]["sex"]
    assert set(without["diagnostic_clip_rate_by_group"].values()) == {None}
    assert without["accuracy_by_group"]["m"] > 0.75


@pytest.mark.parametrize("engine", ["vectorized", "opacus"])
def test_norms_by_group_keep_ledger_and_epsilon_and_are_told_in_the_guarantee(plain, run_people, engine):
    record, folder = run_people(NORMS, f"training.engine={engine}")
    ledger = (folder / "ledger.jsonl").read_bytes()
    assert ledger == (plain[1] / "ledger.jsonl").read_bytes()  # the largest norm is the sensitivity still
    assert (folder / "model.safetensors").read_bytes() != (plain[1] / "model.safetensors").read_bytes()
    before = plain[0].extra["fairness"]["sex"]["diagnostic_clip_rate_by_group"]
    after = record.extra["fairness"]["sex"]["diagnostic_clip_rate_by_group"]
    assert after["m"] > before["m"] + 0.2
    told = (folder / "guarantee.md").read_text()
    assert "sex m 0.25" in told
    assert "an example's group is protected with the example" in told
    assert verify(folder).holds


@pytest.mark.slow
def test_a_killed_run_tells_the_same(run_people, plain, tmp_path, monkeypatch):
    ordinary = Attempt._after_round

    def stop_after_two(self, outcome):
        ordinary(self, outcome)
        self._checkpoint()
        if outcome.round == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Attempt, "_after_round", stop_after_two)
    with pytest.raises(InterruptedRunError):
        run_people(folder=tmp_path)
    monkeypatch.undo()
    record, _ = run_people(folder=tmp_path)
    assert record.execution.attempts == 2
    assert record.extra["fairness"] == plain[0].extra["fairness"]


@pytest.mark.parametrize(
    ("overrides", "groups", "error", "message"),
    [
        ((), "[gender]", DataError, r"no column 'gender' \(data.groups\)"),
        (("privacy.group_norms={race: {a: 0.5}}",), "[sex]", ConfigError, "the data names no group 'race'.*names sex"),
        ((NORMS,), "[]", ConfigError, "the data names no group 'sex' .it names none.*data.groups"),
        (("privacy.group_norms={sex: {male: 0.5}}",), "[sex]", ConfigError, "no group 'male'; there are f, m"),
        (("privacy.group_norms={sex: {m: 2.0}}",), "[sex]", ConfigError, "at most privacy.max_grad_norm=1"),
        (("privacy.group_norms={sex: {m: 0.0}}",), "[sex]", ConfigError, "above 0"),
        (("privacy.group_norms={sex: 0.5}",), "[sex]", ConfigError, "must give groups a norm"),
        (("privacy=central", NORMS), "[sex]", ConfigError, "privacy.group_norms has no meaning with privacy=central"),
        ((), "[age, sex, height]", DataError, "The groups 'age' are .* too many to compare"),
    ],
)
def test_what_cannot_be_told_is_refused_before_there_is_a_folder(
    run_people, tmp_path, overrides, groups, error, message
):
    with pytest.raises(error, match=message) as caught:
        run_people(*overrides, groups=groups, folder=tmp_path / "none")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_the_command_refuses_a_group_that_is_not_there_with_code_2(command, people):
    told = command(
        *("run", "data=table", f"data.path={people}", "data.label=sick", "+data.numeric.age=[20,80]"),
        *("model=logistic", "data.groups=[gender]", "partition=iid"),
    )
    assert told.code == 2
    assert "gender" in told.err


def test_runs_without_norms_by_group_keep_their_ids():
    config = compose(["experiment=digits_smoke"], config_dir=None)
    given = {"code": {}, "data_fingerprint": "0", "tuning": {}, "version": "0"}
    assert run_id(config, **given) == "e341c45cff95"  # as before there was privacy.group_norms
    config.privacy.group_norms = {"sex": {"m": 0.5}}
    assert run_id(config, **given) != "e341c45cff95"


def test_norms_by_group_and_by_layer_exclude_each_other(run_people):
    with pytest.raises(ConfigError, match="cannot be had together"):
        run_people(NORMS, "+privacy.layer_norms.fc=0.5")


def test_a_rare_digit_is_cut_in_training_only():
    config = compose(["experiment=mnist5k_rare_digit", "data.rare_class=3", "data.rare_examples=7"], config_dir=None)
    data = Experiment.assemble(config).data
    assert np.bincount(data.train.y).tolist() == [400, 400, 400, 7, *[400] * 6]
    assert np.bincount(data.test.y).tolist() == [100] * 10
    assert np.array_equal(data.test_groups("digit"), data.test.y)
    with pytest.raises(ConfigError, match=r"data.rare_examples=401 .* there are 400"):
        Experiment.assemble(compose(["experiment=mnist5k_rare_digit", "data.rare_examples=401"], config_dir=None))
