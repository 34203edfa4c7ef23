import pytest

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import ChainMark, Execution, RunRecord
from fedpriv.records.tables import TableParts
from fedpriv.reports.show import headline, show

GUARANTEE = {
    "epsilon": 7.99614,
    "delta": 0.000336097,
    "delta_rule": "n^-1.1 with n = 1438",
    "unit": "example",
    "relation": "add_or_remove_one",
    "trust_model": "local",
    "observer": "anyone who sees every client's updates, the server included",
    "accountant": "pld",
    "method": "PLD",
    "sampling": {"kind": "poisson", "rate_max": 0.25},
    "rounds": 3,
    "releases": 150,
    "worst_client": None,
    "noise_secret": False,
    "not_covered": ["other runs [on] the same data", "client sizes"],
    "sampling_run": {"cohorts": {"kind": "fixed_size", "cohort": 4.0}},
    "mu": None,
    "curve": {
        "method": "PLD upper bound",
        "points": [{"epsilon": 0.5 * n, "delta": 10.0**-n} for n in range(1, 26)],
    },
    "threat_matrix": [
        {"unit": unit, "observer": observer, "epsilon": epsilon, "delta": 1e-5, "relation": relation, "because": "Why."}
        for unit, epsilon, relation in (("example", 7.99614, "add_or_remove_one"), ("client", None, None))
        for observer in ("final_model", "other_clients", "curious_server", "secure_aggregation_server")
    ],
}


def record(**changes):
    fields = {
        "status": "completed",
        "run_id": "abc",
        "name": "smoke",
        "seed": 0,
        "metrics": {"test_accuracy": 0.70752, "test_loss": 1.92371},
        "guarantee": GUARANTEE,
        "guarantees": [GUARANTEE],
        "rounds": 3,
        "seconds": 1.25,
        "packages": {},
        "revision": "r",
        "ledger": ChainMark(head="0" * 64, count=0),
        "audit": ChainMark(head="0" * 64, count=0),
        "audited": None,
        "error": None,
        "execution": Execution(rounds_trained=3, resumed_from=None, worker_pids=[], attempts=1),
        "extra": {},
    }
    return RunRecord(**(fields | changes))


def row(number):
    return {
        "round": number,
        "cohort": 10,
        "replied": 9,
        "failed": 1,
        "diagnostic_train_loss": 2.24245,
        "test_accuracy": 0.25 if number % 2 else None,
        "test_loss": 2.16903,
        "epsilon": 6.39,
        "seconds": 0.055,
    }


@pytest.fixture
def shown(tmp_path, capsys, monkeypatch):
    """What ``show`` prints of a run with these fields and rounds."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(rounds=3, finished=True, **changes):
        RunFolder(tmp_path).write_run_json(record(**changes))
        table = TableParts(folder=tmp_path, name="rounds")
        table.discard_after(0)
        if rounds:
            table.add_rows([row(n) for n in range(1, rounds + 1)])
            table.flush(1, rounds)
        if finished:
            table.finish()
        show(tmp_path)
        return capsys.readouterr().out

    return call


def test_the_headline_is_the_answer_in_three_lines():
    assert list(headline(record())) == [
        "smoke (abc): completed, 3 rounds, 1.2 s",
        "Test accuracy 0.7075, test loss 1.9237",
        "Guarantee: epsilon 7.9962 at delta 0.000337; unit example, relation add_or_remove_one, trust model local, "
        "accountant pld",
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("completed", "Guarantee: none. Nothing is claimed about this run."),
        ("failed", "Guarantee: none. Nothing is claimed about this run."),
        ("running", "Guarantee: none yet, the run has not ended."),
    ],
)
def test_a_run_without_a_guarantee_claims_nothing(status, told):
    lines = list(headline(record(status=status, guarantee=None, guarantees=[])))
    assert lines[0].startswith(f"smoke (abc): {status}, ")
    assert lines[-1] == told
    assert "epsilon" not in " ".join(lines)


def test_a_run_that_was_not_evaluated_shows_no_accuracy():
    assert not any("accuracy" in line for line in headline(record(metrics={})))


def test_a_run_that_was_stopped_says_why(shown):
    assert "stopped at budget" in shown(status="stopped_at_budget")
    text = shown(status="failed", error="client 0 with: ValueError: [bold]no[/bold]", rounds=0, guarantee=None)
    assert "Error: client 0 with: ValueError: [bold]no[/bold]" in text


def test_rounds_stand_in_a_table_that_fits_eighty_columns(shown):
    text = shown()
    assert ["1", "10", "9", "1", "2.242", "0.25", "2.169", "6.39", "0.055"] in [
        line.split() for line in text.splitlines()
    ]
    assert ["2", "10", "9", "1", "2.242", "-", "2.169", "6.39", "0.055"] in [line.split() for line in text.splitlines()]
    table = text[text.index("Rounds") : text.index("-differential privacy")].rpartition("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table


def test_of_many_rounds_some_are_shown_the_last_among_them(shown):
    numbers = [int(line.split()[0]) for line in shown(rounds=100).splitlines() if line.split()[1:2] == ["10"]]
    assert numbers[0] == 1
    assert numbers[-1] == 100
    assert len(numbers) <= 13
    assert numbers == sorted(set(numbers))


def test_rounds_of_an_unfinished_run_are_read_from_their_parts(shown):
    text = shown(status="running", finished=False, guarantee=None, seconds=0.0)
    assert "running" in text
    assert text.count("2.242") == 3


def test_every_field_of_the_guarantee_is_shown_and_said_in_words(shown):
    text = shown()
    for key in GUARANTEE.keys() - {"threat_matrix"}:
        assert key.replace("_", " ") in text
    assert "cohorts kind fixed_size, cohort 4" in " ".join(text.split())
    assert "kind poisson, rate max 0.25" in text.replace("rate_max", "rate max")
    assert "other runs [on] the same data" in text
    assert "noise secret   no" in " ".join(text.split("\n")) or "no" in text.split("noise secret")[1].split()[0]
    assert "(7.9962, 0.000337)-differential privacy for adding or removing one training example" in text


def test_the_threat_matrix_is_a_row_a_unit_and_the_curve_a_few_points(shown):
    lines = [line.split() for line in shown().splitlines()]
    assert ["example", *["7.9962"] * 4] in lines, "rounded up"
    assert ["add_or_remove_one"] in lines
    assert ["client", *["none"] * 4] in lines
    words = " ".join(" ".join(line) for line in lines)
    assert "0.1 at 0.5, 1e-05 at 2.5, 1e-09 at 4.5" in words
    assert words.count(" at ") < 12
    assert "Why." not in words, "guarantee.md has the reasons"


def test_a_run_of_an_earlier_version_is_shown_without_matrix_and_curve(shown):
    earlier = {key: value for key, value in GUARANTEE.items() if key not in ("threat_matrix", "curve", "sampling_run")}
    text = shown(guarantee=earlier, guarantees=[earlier])
    assert "Epsilon against whom" not in text
    assert "(7.9962, 0.000337)-differential privacy" in text


def test_a_folder_that_is_no_run_is_an_error(tmp_path):
    with pytest.raises(InputError, match="There is no run folder"):
        show(tmp_path / "nosuch")
    with pytest.raises(DamagedRunError, match=r"run\.json"):
        show(tmp_path)


def test_personal_layers_are_told_by_the_clients_own_examples():
    metrics = {"baseline": 0.1, "diagnostic_client_holdout_accuracy_mean": 0.46249}
    lines = list(headline(record(metrics=metrics)))
    assert "Accuracy of clients on examples that they kept back: mean 0.4625 (a diagnostic)" in lines
