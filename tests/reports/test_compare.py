import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fedpriv.errors import InputError
from fedpriv.reports.compare import compare
from fedpriv.runs import Unread


@pytest.fixture(scope="module")
def sweeps(run_digits, tmp_path_factory):
    """Two folders of runs: two epsilons over two seeds, and the same with another learning rate."""
    folders = []
    for name, lr in (("slow", "0.1"), ("fast", "0.5")):
        folder = tmp_path_factory.mktemp("compared")
        for seed in (0, 1):
            for epsilon in (2, 8):
                given = (f"privacy.epsilon={epsilon}", f"seed={seed}", f"training.lr={lr}", f"name={name}")
                run_digits("rounds=1", *given, output_dir=folder)
        folders.append(folder)
    return folders


def _runs(folder):
    return sorted(path.parent for path in folder.glob("*/*/run.json"))


def test_two_runs_side_by_side(sweeps, command):
    slow, fast = (str(_runs(folder)[0]) for folder in sweeps)
    outcome = command("compare", slow, fast)
    assert outcome.code == 0
    assert ["training.lr", "0.1", "0.5"] in [line.split() for line in outcome.out.splitlines()]
    assert "best constant answer" in outcome.out
    assert "epsilon" in outcome.out
    assert "add_or_remove_one" in outcome.out


def test_two_sweeps_setting_by_setting(sweeps, command):
    outcome = command("compare", *map(str, sweeps))
    assert outcome.code == 0
    assert "4 runs" in outcome.out
    assert "over 2 shared seeds" in outcome.out
    assert "adjusted for the number of rows (Holm)" in outcome.out
    rows = [line for line in outcome.out.splitlines() if "privacy.epsilon=" in line]
    assert [line.split()[0] for line in rows] == ["privacy.epsilon=2", "privacy.epsilon=8"]
    assert all("\N{PLUS-MINUS SIGN}" in line for line in rows)
    assert "Unlike" not in outcome.out


def test_a_run_with_itself_differs_in_nothing(sweeps, capsys):
    run = _runs(sweeps[0])[0]
    compare(run, run)
    shown = capsys.readouterr().out
    assert "no key differs" in shown
    assert "+0.0000" in shown
    assert "One shared seed: no interval, no test." in shown


def test_text_of_configs_is_no_markup(sweeps, capsys, monkeypatch):
    from fedpriv.runs import Runs, find_runs

    (run,) = find_runs([_runs(sweeps[0])[0]])
    evil = replace(run, config={**run.config, "task": "[red]x[/red]", "[bold]key": "[link=file:///]y[/link]"})
    sides = {Path("A"): Runs((run,), ()), Path("[u]B"): Runs((evil,), (Unread(Path("[u]C"), None, "[i]why"),))}
    monkeypatch.setattr("fedpriv.reports.compare.find_runs", lambda paths: sides[paths[0]])
    compare(*sides)
    shown = capsys.readouterr().out
    for text in ("[red]x[/red]", "[bold]key", "[link=file:///]y[/link]", "[u]B", "[u]C", "[i]why"):
        assert text in shown


def test_broken_runs_are_named_and_left_out(sweeps, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(sweeps[0], copy)
    broken = _runs(copy)[0]
    (broken / "ledger.jsonl").unlink()
    compare(copy, sweeps[1])
    shown = capsys.readouterr().out
    assert f"left out: {broken}" in shown
    assert "3 runs" in shown
    with pytest.raises(InputError, match="holds no run that can be compared"):
        compare(broken, sweeps[1])


def test_a_run_that_claims_nothing_has_no_epsilon(run_digits, sweeps, capsys):
    plain = run_digits("rounds=1", "privacy=none").folder
    compare(plain, _runs(sweeps[0])[0])
    shown = capsys.readouterr().out
    row = next(line.split() for line in shown.splitlines() if line.split()[:1] == ["epsilon"])
    assert row[1] == "none"
    assert float(row[2]) > 0
