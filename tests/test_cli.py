import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

import fedpriv
from fedpriv.accounting.printed import rounded_up
from fedpriv.config import conf_dir

ROOT = Path(__file__).parents[1]
SMOKE = ["run", "experiment=digits_smoke"]
FAST = [*SMOKE, "rounds=1", "evaluation.clients=false"]

MODULE = "models_that_raise"
SOURCE = '''
from torch import nn

MARK = 1e5


class Steady(nn.Module):
    """A mark is clamped away."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.layer = nn.Linear(4, num_classes)

    def forward(self, x):
        return self.layer(x.clamp(-3, 3))


class Touchy(Steady):
    def forward(self, x):
        if (x > MARK).any():
            raise ValueError("saw the [mark]")
        return super().forward(x)


class Sulky(Steady):
    def forward(self, x):
        if self.training and (x < 0).any():  # no pixel of a trial is
            raise ValueError("not today")
        return super().forward(x)


class Clumsy(Steady):
    def forward(self, x):
        if not self.training and len(x) > 2 and (x < 0).any():
            raise RuntimeError("first line\\nsecond line")
        return super().forward(x)
'''


def run_folder(outputs):
    (found,) = Path(outputs).glob("*/*/run.json")
    return found.parent


def read(folder, name="run.json"):
    text = (folder / name).read_text()
    return [json.loads(line) for line in text.splitlines()] if name.endswith("l") else json.loads(text)


def loaded_by(*arguments):
    """Modules that a command loads, in a process of its own."""
    code = f"import sys; sys.argv[0] = 'fedpriv'; from fedpriv.cli import main\ntry: main({list(arguments)!r})\n"
    code += "except SystemExit: pass\nprint('loaded', *sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(shown.stdout.splitlines()[-1].split())


# -- help --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["run", "--help"], ["show", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    heavy = {"torch", "numpy", "flwr", "opacus", "hydra", "omegaconf", "dp_accounting", "scipy", "rich", "pyarrow"}
    assert heavy & loaded_by(*arguments) == set()


def test_help_lists_every_command(command):
    for outcome in (command("--help"), command()):
        assert outcome.code == 0
        assert all(
            re.search(rf"^ +{name} ", outcome.out, re.MULTILINE) for name in ["run", "resume", "show", "verify", "data"]
        )


def test_version(command):
    assert command("--version").out == f"fedpriv {fedpriv.__version__}\n"


def test_run_help_explains_every_choice_and_gives_examples(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    outcome = command("run", "--help")
    assert outcome.code == 0
    for group in (folder for folder in conf_dir().iterdir() if folder.is_dir()):
        assert f"\n  {group.name}=\n" in outcome.out
        for choice in group.glob("*.yaml"):
            assert re.search(rf"^    {choice.stem} +\S", outcome.out, re.MULTILINE), choice
    assert outcome.out.count("\n  fedpriv run") >= 5
    assert max(map(len, outcome.out.splitlines())) <= 120


@pytest.mark.slow
def test_the_examples_of_run_help_compose(command):
    from fedpriv.config import compose

    lines = re.findall(r"^  fedpriv run ([^ ].*?)(?:   .*)?$", command("run", "--help").out, re.MULTILINE)
    own = ("--config-dir",)
    tried = [line.split() for line in lines if not line.startswith(own)]
    assert len(tried) >= 5
    for overrides in tried:
        compose(overrides, config_dir=None)


# -- ways in -----------------------------------------------------------------------------------------------


def test_every_way_in_is_the_same(tmp_path):
    ways = [[sys.executable, "-m", "fedpriv", "run"], [sys.executable, ROOT / "scripts" / "simulate.py"]]
    for way in ways:
        done = subprocess.run([*way, "rounds=0"], capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert (done.returncode, done.stderr) == (2, "fedpriv: rounds=0 must be at least 1.\n")


def test_a_model_in_the_current_folder_is_found_and_options_may_stand_anywhere(command, tmp_path):
    (tmp_path / "net_of_mine.py").write_text(
        "from torch import nn\n\n\ndef net(*, num_classes: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "data").mkdir()
    (tmp_path / "mine" / "data" / "small.yaml").write_text(
        "_target_: fedpriv.data.sources.digits\ntest_fraction: 0.9\nscale: 0.0625\nmean: 0.0\nstd: 1.0\n"
    )
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: small\n  - override /partition: iid\n"
        "name: own\nmodel:\n  _target_: net_of_mine.net\nprivacy:\n  epsilon: 5\n"
    )
    outcome = command("run", "experiment=own", "--config-dir=mine", "rounds=1")
    assert (outcome.code, outcome.err) == (0, "")
    record = read(run_folder("outputs"))
    assert (record["name"], record["rounds"]) == ("own", 1)
    assert 4.9 < record["guarantee"]["epsilon"] <= 5


# -- a run and its folder ----------------------------------------------------------------------------------


def test_a_run_prints_what_was_reached_and_where(command):
    outcome = command(*SMOKE)
    folder = run_folder("outputs")
    record = read(folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert folder.parent == Path("outputs/digits_smoke")
    assert f"Test accuracy {record['metrics']['test_accuracy']:.4f}" in outcome.out
    assert f"epsilon {rounded_up(record['guarantee']['epsilon'])} at delta" in outcome.out
    told = "unit example, relation add_or_remove_one, trust model local, accountant pld"
    assert told in outcome.out
    assert f"Run folder: {folder}" in outcome.out

    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for again in (command(*SMOKE), command("resume", str(folder))):
        assert again.code == 0
        assert "Already done; force=true trains it again." in again.out
        assert f"Run folder: {folder}" in again.out
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_force_trains_again_and_what_was_released_stays_paid_for(command):
    overrides = [*FAST, "privacy.epsilon=null", "privacy.noise_multiplier=1", "seeds.noise=secret"]
    assert command(*overrides).code == 0
    folder = run_folder("outputs")
    first, model = read(folder), (folder / "model.safetensors").read_bytes()
    assert command(*overrides, "force=true").code == 0  # the first key is gone: other noise, a second release
    second = read(folder)
    assert (folder / "model.safetensors").read_bytes() != model
    assert second["ledger"]["count"] == 2 * first["ledger"]["count"]
    assert second["guarantee"]["epsilon"] > first["guarantee"]["epsilon"]
    assert command("verify", str(folder)).code == 0


_NUMBER, _MAYBE = (int, float), (int, float, type(None))
_RECORD = {
    "schema_version": int,
    "status": str,
    "run_id": str,
    "name": str,
    "seed": int,
    "metrics": dict,
    "guarantee": (dict, type(None)),
    "guarantees": list,
    "rounds": int,
    "seconds": _NUMBER,
    "packages": dict,
    "revision": str,
    "ledger": dict,
    "audit": dict,
    "error": (str, type(None)),
    "execution": dict,
}
_GUARANTEE = {
    "epsilon": float,
    "delta": float,
    "unit": str,
    "relation": str,
    "trust_model": str,
    "accountant": str,
    "sampling": dict,
    "not_covered": list,
    "noise_secret": bool,
}
_EXECUTION = {"rounds_trained": int, "resumed_from": (int, type(None)), "worker_pids": list, "attempts": int}
_MECHANISMS = {
    "none": ["privacy=none"],
    "example": [],
    "central": ["privacy=central", "privacy.epsilon=8", "sampling.cohort=5"],
}
_CLAIMS = {"example": ("example", "local"), "central": ("client", "central")}


@pytest.mark.parametrize("mechanism", _MECHANISMS)
def test_the_folder_is_what_the_contract_says(command, mechanism):
    assert command(*SMOKE, "rounds=2", *_MECHANISMS[mechanism]).code == 0
    folder = run_folder("outputs")
    record = read(folder)

    for key, kind in _RECORD.items():
        assert isinstance(record[key], kind), key
    assert (record["status"], record["error"], record["rounds"], record["seed"]) == ("completed", None, 2, 0)
    assert record["run_id"] == folder.name
    assert {"test_accuracy", "test_loss"} <= record["metrics"].keys()
    assert all(k.startswith(("test_", "diagnostic_")) for k in record["metrics"].keys() - {"baseline"})
    assert 0.1 < record["metrics"]["baseline"] < 0.2
    assert (record["task"]["headline"], record["task"]["public_data"]) == ("test_accuracy", False)
    assert {"fedpriv", "torch", "flwr", "opacus"} <= record["packages"].keys()
    for key, kind in _EXECUTION.items():
        assert isinstance(record["execution"][key], kind), key
    assert record["execution"] == {"rounds_trained": 2, "resumed_from": None, "worker_pids": [], "attempts": 1}

    ledger = read(folder, "ledger.jsonl")
    assert record["ledger"] == {"head": ledger[-1]["hash"] if ledger else "0" * 64, "count": len(ledger)}
    if mechanism == "none":
        assert (record["guarantee"], record["guarantees"], ledger) == (None, [], [])
    else:
        for key, kind in _GUARANTEE.items():
            assert isinstance(record["guarantee"][key], kind), key
        assert record["guarantees"] == [record["guarantee"]]
        assert (record["guarantee"]["unit"], record["guarantee"]["trust_model"]) == _CLAIMS[mechanism]
        assert [entry["round"] for entry in ledger] == [1, 2]

    rounds = pq.read_table(folder / "rounds.parquet").to_pylist()
    assert [row["round"] for row in rounds] == [1, 2]
    for row in rounds:
        assert row["replied"] + row["dropped"] + row["failed"] == row["cohort"]
        assert isinstance(row["seconds"], float)
        assert (row["epsilon"] is None) == (mechanism == "none")
        assert isinstance(row["diagnostic_train_loss"], _MAYBE)
    assert pq.read_table(folder / "clients.parquet").num_rows == sum(row["cohort"] for row in rounds)
    assert all(np.isfinite(t).all() for t in load_file(folder / "model.safetensors").values())
    assert {"config.yaml", "audit.jsonl", "checkpoint"} <= {p.name for p in folder.iterdir()}
    assert command("verify", str(folder)).code == 0


def test_the_default_experiment_takes_another_mechanism_from_the_command_line(command):
    outcome = command("run", "privacy=central", "privacy.epsilon=8", "sampling.cohort=5", "rounds=1", "model=logistic")
    assert (outcome.code, outcome.err) == (0, "")
    guarantee = read(run_folder("outputs"))["guarantee"]
    assert (guarantee["unit"], guarantee["sampling"]["kind"]) == ("client", "poisson")


def test_a_run_without_noise_claims_nothing(command):
    outcome = command(*FAST, "privacy.epsilon=inf")
    assert outcome.code == 0
    assert "Guarantee: none. Nothing is claimed about this run." in outcome.out
    assert read(run_folder("outputs"))["guarantee"] is None


# -- the budget --------------------------------------------------------------------------------------------


def test_a_budget_that_allows_no_round_is_exit_3_each_time(command):
    for _ in range(2):
        outcome = command(*SMOKE, "privacy.noise_multiplier=0.01")
        assert outcome.code == 3
        assert outcome.err.startswith("fedpriv: privacy.epsilon=8 does not allow even one round with this noise; use ")
        assert outcome.err.count("\n") == 1
    record = read(run_folder("outputs"))
    assert (record["status"], record["rounds"], record["guarantee"]) == ("stopped_at_budget", 0, None)
    assert record["error"].startswith("privacy.epsilon=8 does not allow")
    assert record["ledger"]["count"] == 0


def test_a_budget_that_allows_some_rounds_is_exit_0(command):
    outcome = command(*SMOKE, "rounds=50", "privacy.epsilon=3", "privacy.noise_multiplier=2.0")
    assert (outcome.code, outcome.err) == (0, "")
    folder = run_folder("outputs")
    record = read(folder)
    assert record["status"] == "stopped_at_budget"
    assert 0 < record["rounds"] < 50
    assert record["guarantee"]["epsilon"] <= 3
    assert (folder / "model.safetensors").exists()
    assert "stopped at budget" in command("show", str(folder)).out


# -- clients that raise ------------------------------------------------------------------------------------


@pytest.fixture
def clients(command, tmp_path):
    """Runs five clients, of which client 3 holds marked examples."""
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    rng = np.random.default_rng(0)
    x, user = rng.normal(size=(100, 4)).astype(np.float32), np.arange(100) % 5
    y = (x[:, 0] > 0).astype(np.int64)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    x[user == 3, 1] = 1e6
    np.savez(tmp_path / "train.npz", x=x, y=y, user=user)

    def call(model, *overrides):
        return command(
            "run",
            "data=arrays",
            "data.path=train.npz",
            "data.test_path=test.npz",
            "data.user=user",
            "partition=natural",
            "partition.min_examples=1",
            "training.batch_size=100",
            f"model._target_={MODULE}.{model}",
            "rounds=2",
            f"name={model}",
            *overrides,
        )

    yield call
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("mechanism", _MECHANISMS)
def test_one_raising_client_costs_nothing_but_its_update(clients, mechanism):
    overrides = [*_MECHANISMS[mechanism], "sampling.cohort=5"]
    outcome = clients("Touchy", *overrides)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Round 1: client 3 failed: ValueError: saw the [mark]" in outcome.out
    assert clients("Steady", *overrides).code == 0
    touchy, steady = (next(Path("outputs", name).iterdir()) for name in ("Touchy", "Steady"))

    for row in pq.read_table(touchy / "rounds.parquet").to_pylist():
        assert (row["cohort"], row["replied"], row["failed"]) == (5, 4, 1)
    told = [line for line in read(touchy, "audit.jsonl") if line["event"] == "client_failed"]
    assert [(t["round"], t["client"], t["failure"]) for t in told] == [
        (n, 3, "ValueError: saw the [mark]") for n in (1, 2)
    ]
    # What was released is the same, bit for bit, as when nobody fails.
    assert (touchy / "ledger.jsonl").read_bytes() == (steady / "ledger.jsonl").read_bytes()
    assert read(touchy)["guarantee"] == read(steady)["guarantee"]
    metrics = read(touchy)["metrics"]
    assert metrics.keys() == read(steady)["metrics"].keys()
    assert all(np.isfinite(list(metrics.values())))


def test_every_client_failing_fails_the_run_with_the_clients_message(clients):
    outcome = clients("Sulky")
    assert outcome.code == 1
    assert outcome.err == (
        "fedpriv: Round 1: every client of the cohort failed; client 0 with: ValueError: not today\n"
    )
    record = read(run_folder("outputs"))
    assert (record["status"], record["rounds"]) == ("failed", 0)
    assert record["error"] == outcome.err.removeprefix("fedpriv: ").strip()
    assert record["ledger"]["count"] == 1  # an entry whose release never happened stays paid for


def test_an_unexpected_error_is_one_line_and_exit_1(clients, monkeypatch):
    outcome = clients("Clumsy")
    assert outcome.code == 1
    assert outcome.err == "fedpriv: RuntimeError: first line second line (FEDPRIV_DEBUG=1 shows where)\n"
    assert read(run_folder("outputs"))["status"] == "failed"
    monkeypatch.setenv("FEDPRIV_DEBUG", "1")
    with pytest.raises(RuntimeError, match="first line"):
        clients("Clumsy")


# -- show, verify, data ------------------------------------------------------------------------------------


def test_the_folder_above_a_run_names_the_runs_in_it(command):
    assert command(*FAST).code == 0
    folder = run_folder("outputs")
    for name in ("resume", "show", "verify"):
        for above in (folder.parent, folder.parent.parent):
            outcome = command(name, str(above))
            assert (outcome.code, outcome.err) == (
                2,
                f"fedpriv: {above} holds runs but is none. Give one of them: {folder}\n",
            )


def test_verify_is_exit_1_where_a_claim_does_not_hold(command):
    assert command(*FAST).code == 0
    folder = run_folder("outputs")
    record = read(folder)
    record["guarantee"]["epsilon"] /= 2
    record["guarantees"] = [record["guarantee"]]
    (folder / "run.json").write_text(json.dumps(record))
    outcome = command("verify", str(folder))
    assert outcome.code == 1
    assert "FAILS  guarantee: epsilon: stated" in outcome.out


def test_data_shows_clients_sizes_and_label_mix_and_draws_them(command, tmp_path):
    outcome = command("data", "experiment=digits_smoke", "partition.num_clients=7", "--png", "x.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert re.search(r"clients +7\b", outcome.out)
    assert "Examples per label" in outcome.out
    assert "Drawn to x.png" in outcome.out
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def plain(shown):
    """Without colours and movements of the cursor."""
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown)


# -- at a terminal -----------------------------------------------------------------------------------------


def test_at_a_terminal_a_bar_shows_round_loss_accuracy_epsilon_and_time_left(command, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command(*SMOKE, "evaluation.clients=false")
    assert outcome.code == 0
    shown = plain(outcome.out.encode()).decode()
    bars = [line for line in re.split(r"[\r\n]+", shown) if line.startswith("round ")]
    assert re.fullmatch(r"round 3/3 \S+ +loss \d\.\d{3}  accuracy \d\.\d{3}  epsilon <= \d\.\d{3} [\d:-]+ *", bars[-1])
    assert all(len(line) <= 80 for line in bars)


def test_in_a_log_there_is_no_bar(command):
    outcome = command(*SMOKE, "evaluation.clients=false")
    assert "\x1b" not in outcome.out
    assert re.search(r"^round 3/3  loss \S+  accuracy \S+  epsilon <= \S+$", outcome.out, re.MULTILINE)


def test_ctrl_c_at_a_terminal_leaves_a_run_that_goes_on(command, tmp_path):
    (tmp_path / "slow_net.py").write_text(
        "import time\nfrom torch import nn\n\n\nclass Slow(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.layer = nn.Linear(64, 10)\n\n    def forward(self, x):\n"
        "        time.sleep(0.02)\n        return self.layer(x.flatten(1))\n"
    )
    overrides = [*SMOKE, "model._target_=slow_net.Slow", "rounds=3", "evaluation.clients=false"]
    # own code: what is trained again after a stop is paid for again, which no target epsilon has room for
    overrides += ["privacy.epsilon=null", "privacy.noise_multiplier=1"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fedpriv", *overrides],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # ignored, and so for children, where tests run in a shell's background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 100
    while b"round 1/3" not in plain(shown) and time.monotonic() < deadline:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(timeout=60) == 130
    folder = run_folder("outputs")
    assert f"fedpriv: Interrupted. Go on with: fedpriv resume {folder}" in shown.decode()
    assert b"Traceback" not in shown
    assert b"\x1b[?25h" in shown  # the cursor is back
    assert read(folder)["status"] == "interrupted"
    assert "interrupted" in command("show", str(folder)).out
    assert command("verify", str(folder)).code == 0
    outcome = command("resume", str(folder))
    assert (outcome.code, outcome.err) == (0, "")
    assert read(folder)["status"] == "completed"
    assert read(folder)["rounds"] == 3
