"""Many runs with and without one canary: coins, what is kept, thresholds, bounds, and a claim that is contradicted."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fedpriv.config import compose
from fedpriv.errors import AuditError, ConfigError, DamagedRunError
from fedpriv.experiment.auditing import RepeatedAudit, check_repeated
from fedpriv.experiment.auditing.repeated import Trial, _best_threshold, _errors
from fedpriv.federation.node import Node

SCRIPT = Path(__file__).parents[3] / "scripts" / "audit_repeatedly.py"
# One client with all examples in each of two steps: 2-GDP, were it not for the canary's coin.
ONE = ("experiment=digits_smoke", "audit=gradient_canaries", "model=logistic", "partition.num_clients=1", "rounds=2",
       "training.batch_size=2000", "training.lr=0.1", "privacy.epsilon=null", "privacy.noise_multiplier=1.41421356",
       "evaluation.clients=false")  # fmt: skip


def audit_in(folder, *overrides):
    return RepeatedAudit(config=compose([*ONE, *overrides], config_dir=None), folder=folder)


def silently(_):
    return


@pytest.fixture(scope="module")
def conducted(tmp_path_factory):
    audit = audit_in(tmp_path_factory.mktemp("repeated"))
    return audit, audit.conduct(40, workers=1, tell=silently)


def test_there_is_one_canary_whose_coin_and_noise_are_each_runs_own(conducted):
    audit, _ = conducted
    trials = audit._known()
    assert audit.experiment.config.audit["canaries"] == 1
    assert sorted(trials) == list(range(40))
    assert 10 < sum(trial.included for trial in trials.values()) < 30
    assert len({trial.score for trial in trials.values()}) == 40
    assert audit.trial(3) == trials[3]


def test_the_result_stands_beside_the_claim(conducted):
    audit, found = conducted
    assert (found["runs"], found["pilots"], found["kind"], found["confidence"]) == (40, 10, "gradient", 0.95)
    assert found["claimed_epsilon"] == pytest.approx(audit.plan["epsilon"])
    assert 0 <= found["empirical_epsilon"] < found["claimed_epsilon"]
    judged = found["by_epsilon"]
    assert judged["runs_with"] + judged["runs_without"] == 30
    check_repeated(found)


def test_started_again_it_goes_on_and_finds_the_same(conducted, tmp_path, monkeypatch):
    audit, found = conducted
    lines = audit.trials_file.read_text().splitlines(keepends=True)
    again = audit_in(tmp_path)
    again.trials_file.write_text("".join(lines[:37]) + lines[37][:9])
    run, trained = RepeatedAudit.trial, []
    monkeypatch.setattr(RepeatedAudit, "trial", lambda self, number: trained.append(number) or run(self, number))
    assert again.conduct(40, workers=1, tell=silently) == found
    assert trained == [37, 38, 39]
    again.trials_file.write_text("{}\n")
    with pytest.raises(DamagedRunError, match="does not hold trials"):
        again.conduct(40, workers=1, tell=silently)


@pytest.mark.slow
def test_processes_change_nothing(conducted, tmp_path):
    assert audit_in(tmp_path).conduct(40, workers=2, tell=silently) == conducted[1]


def test_without_noise_the_claim_is_contradicted(tmp_path, monkeypatch):
    honest = Node._work
    monkeypatch.setattr(Node, "_work", lambda self, *given: replace(honest(self, *given), noise_multiplier=0.0))
    audit = audit_in(tmp_path, "privacy.noise_multiplier=14", "model=mlp", "training.lr=0.05")
    found = audit.conduct(40, workers=1, tell=silently)
    assert found["claimed_epsilon"] < 1 < found["empirical_epsilon"]
    with pytest.raises(AuditError, match="40 runs contradict the claim"):
        check_repeated(found)


@pytest.mark.slow
def test_a_client_canary_is_audited_by_many_runs_too(tmp_path):
    audit = RepeatedAudit(
        config=compose(["experiment=digits_smoke", "privacy=central", "sampling=all", "privacy.clipping_norm=1",
                        "rounds=1", "audit=client_canaries", "privacy.epsilon=null", "privacy.noise_multiplier=0.5"],
                       config_dir=None),
        folder=tmp_path,
    )  # fmt: skip
    found = audit.conduct(200, workers=1, tell=silently)
    assert 0.7 < found["empirical_mu"] <= 2
    assert 0 < found["empirical_epsilon"] < found["claimed_epsilon"]


def test_the_threshold_is_where_the_bound_is_best_and_errors_are_counted_on_its_sides():
    trials = [Trial(run=k, included=k % 2 == 0, score=float(k % 2 == 0) + k / 100) for k in range(20)]
    threshold = _best_threshold(trials, lambda errors: -errors["missed"] - errors["false_alarms"])
    assert 0.19 < threshold < 1.0
    assert _errors(trials, threshold) == {"runs_with": 10, "runs_without": 10, "missed": 0, "false_alarms": 0}
    assert _errors(trials, 5.0)["missed"] == 10
    with pytest.raises(ConfigError, match="fell alike"):
        _best_threshold(trials[::2], lambda errors: 0.0)


def test_what_cannot_be_audited_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Nothing is audited"):
        audit_in(tmp_path, "audit=none")
    with pytest.raises(ConfigError, match="clips none"):
        RepeatedAudit(
            config=compose(["experiment=mnist5k_no_privacy", "audit=gradient_canaries"], config_dir=None),
            folder=tmp_path,
        )
    with pytest.raises(ConfigError, match="at least 40"):
        audit_in(tmp_path).conduct(20, workers=1, tell=silently)


def test_the_script_writes_its_result_and_ends_with_the_errors_code(conducted, tmp_path, monkeypatch, capsys):
    """Beside trials that are there already."""
    (tmp_path / conducted[0].trials_file.name).write_text(conducted[0].trials_file.read_text())
    main, command = runpy.run_path(str(SCRIPT))["main"], [str(SCRIPT), *ONE, "--runs=40", "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    assert main() == 0
    (file,) = tmp_path.glob("*.json")
    assert json.loads(capsys.readouterr().out) == json.loads(file.read_text()) == conducted[1]
    monkeypatch.setattr(sys, "argv", [*command, "audit=none"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("audit_repeatedly: Nothing is audited")
