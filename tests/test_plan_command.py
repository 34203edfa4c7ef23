"""`fedpriv plan` as a person or a script uses it."""

import json
import resource
import subprocess
import sys
import time

import pytest

CLIENT = ["unit=client", "population=3383", "cohort=120", "rounds=100", "delta=1e-5"]
HUGE = ["unit=client", "population=1e9", "cohort=1000", "rounds=100000"]


def test_stdout_holds_only_the_object(command):
    shown = command("plan", "--json", *CLIENT, "noise_multiplier=1.2")
    assert shown.code == 0
    assert shown.err == ""
    told = json.loads(shown.out)
    assert told["epsilon"] == pytest.approx(1.7075, abs=2e-3)  # the privacy reference's client-level table
    back = json.loads(command("plan", *CLIENT, f"epsilon={told['epsilon']}", "--json").out)
    assert back["noise_multiplier"] == pytest.approx(1.2, rel=1e-3)
    assert back["epsilon"] <= told["epsilon"]


def test_a_combination_without_a_valid_accountant_says_why(command, tmp_path):
    shown = command("plan", "--json", *CLIENT, "noise_multiplier=1", "sampling=fixed_size", "accountant=prv")
    assert shown.code == 2
    assert shown.out == ""
    assert "cannot judge cohorts of fixed size: set accountant=rdp" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_people_get_words_a_table_and_a_picture(command, tmp_path):
    words = [*CLIENT, "epsilon=2", "parameters=5000", "deployment_population=1e8", "deployment_cohort=10000"]
    shown = command("plan", *words, "--png", "feasible.png")
    assert shown.code == 0
    assert "epsilon by noise multiplier and rounds" in shown.out
    assert "Signal to noise of one release: at most" in shown.out
    assert "An extrapolation, no guarantee of any run" in shown.out
    assert (tmp_path / "feasible.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["population=100", "cohort=10"], "unit=client or unit=example"),
        (["experiment=digits_smoke", "privacy.epsilonn=3"], "Did you mean privacy.epsilon"),
        (["experiment=digits_smoke", "--png", "x.png"], "give unit=client"),
        ([*CLIENT, "epsilon=2", "--png", "nowhere/x.png"], "Cannot write the picture"),
    ],
)
def test_what_is_meant_must_be_said(command, words, message):
    shown = command("plan", *words)
    assert shown.code == 2
    assert message in shown.err


def test_an_experiment_is_planned_without_a_folder(command, tmp_path):
    shown = command("plan", "--json", "experiment=digits_smoke", "privacy.epsilon=5")
    assert shown.code == 0
    told = json.loads(shown.out)
    assert told["unit"] == "example"
    assert 4.9 < told["epsilon"] <= 5
    assert not told["stops_early"]
    assert list(tmp_path.iterdir()) == []
    assert "What this experiment will state" in command("plan", "experiment=digits_smoke", "rounds=1").out


@pytest.mark.parametrize(
    "words",
    [
        [*HUGE, "noise_multiplier=0.4"],
        [*HUGE, "noise_multiplier=2", "sampling=fixed_size"],
        [*HUGE, "noise_multiplier=1", "sampling=capped_poisson", "cap=1100"],
        [*HUGE, "epsilon=1"],
        [*HUGE, "epsilon=1", "accountant=rdp"],
        ["unit=client", "population=1e9", "cohort=1e6", "epsilon=2", "noise_multiplier=1"],
        ["unit=client", "population=1e9", "rounds=100000", "epsilon=2", "noise_multiplier=1"],
    ],
    ids=" ".join,
)
@pytest.mark.slow
def test_a_billion_clients_and_100000_rounds_take_seconds_and_little_memory(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    shown = subprocess.run(
        [sys.executable, "-m", "fedpriv", "plan", "--json", *words], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert json.loads(shown.stdout)["epsilon"] > 0
    computed = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    assert min(computed, time.monotonic() - began) < 3
    assert after.ru_maxrss < 1e6  # KiB; the largest child of this process so far


@pytest.mark.slow
def test_a_plan_of_numbers_loads_no_training_library():
    code = (
        "import sys; from fedpriv.cli import main\n"
        f"main(['plan', '--json', *{CLIENT!r}, 'epsilon=2'])\n"
        f"main(['plan', '--json', *{CLIENT!r}, 'epsilon=2', 'sampling=fixed_size'])\n"
        "print('loaded', *sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(shown.stdout.splitlines()[-1].split())
    assert {"torch", "flwr", "opacus", "hydra", "omegaconf", "pandas", "matplotlib", "rich"}.isdisjoint(loaded)
    assert "dp_accounting" in loaded
