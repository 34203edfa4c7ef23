"""What a run tells callbacks, and that no callback can change or end it."""

import random
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedpriv import tracking
from fedpriv.config import compose
from fedpriv.errors import ConfigError, InterruptedRunError
from fedpriv.experiment import resume
from fedpriv.records.run_folder import RunFolder
from fedpriv.tracking import Callback, artifacts, rounds_so_far, settings
from fedpriv.tracking.isolation import Isolated

HEARD: list[tuple] = []


@pytest.fixture(autouse=True)
def _nothing_heard():
    HEARD.clear()


class Listener(Callback):
    """Remembers every hook."""

    def __init__(self, *, greeting: str = "hello", final_model: object = None) -> None:
        self.greeting, self.final_model = greeting, final_model

    def already_done(self, folder, record):
        HEARD.append(("already_done", folder, record))

    def started(self, folder, *, rounds_done, last_round, notes):
        HEARD.append(("started", rounds_done, last_round, settings(folder), self.greeting))

    def round_done(self, row, failures):
        HEARD.append(("round_done", row, failures))

    def finished(self, folder, record):
        HEARD.append(("finished", artifacts(folder), record))

    def stopped(self, folder, record):
        HEARD.append(("stopped", record.status, record.error))


class Vandal(Callback):
    """Turns every knob that it can reach."""

    def started(self, folder, *, rounds_done, last_round, notes):
        notes.append("vandalised")
        self._scatter()

    def round_done(self, row, failures):
        row["round"], row["epsilon"] = 99, 0.0
        self._scatter()

    def finished(self, folder, record):
        record.metrics["test_accuracy"] = 1.0
        record.guarantee["epsilon"] = 0.0

    def _scatter(self):
        random.seed(time.time_ns())
        np.random.seed(time.time_ns() % 2**32)
        torch.manual_seed(time.time_ns())


class Broken(Callback):
    """Fails in one hook, in one way."""

    def __init__(self, *, hook: str, how: str) -> None:
        self.hook, self.how = hook, how

    def already_done(self, folder, record):
        self._fail("already_done")

    def started(self, folder, *, rounds_done, last_round, notes):
        self._fail("started")

    def round_done(self, row, failures):
        HEARD.append(("round_done", row["round"]))
        self._fail("round_done")

    def finished(self, folder, record):
        self._fail("finished")

    def _fail(self, hook):
        if hook == self.hook and self.how == "exit":
            raise SystemExit(3)
        if hook == self.hook and self.how == "hang":
            time.sleep(30)
        if hook == self.hook:
            raise ConnectionError("the disk\nof the tracker is full")


class Mute:
    """No callback at all."""


class Interrupts(Callback):
    """A reporter of a person who presses Ctrl-C after a round."""

    def round_done(self, row, failures):
        if row["round"] == 2:
            raise KeyboardInterrupt


def spec(kind: type, **arguments: object) -> list[str]:
    given = {"_target_": f"{__name__}.{kind.__name__}", **arguments}
    return [f"+tracking.mine.{key}={value}" for key, value in given.items()]


def test_a_callback_hears_the_whole_run(run_digits, tmp_path):
    ran = run_digits(*spec(Listener, greeting="hi"), output_dir=tmp_path)
    assert [heard[0] for heard in HEARD] == ["started", *["round_done"] * 3, "finished"]
    _, rounds_done, last_round, config, greeting = HEARD[0]
    assert (rounds_done, last_round, greeting) == (0, 3, "hi")
    assert (config["privacy.epsilon"], config["name"]) == (8.0, "digits_smoke")
    assert not any(key.startswith("tracking") for key in config)
    rows = [row for kind, row, _ in HEARD[1:-1]]
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert rows == [dict(row) for row in ran.reporter.rows]
    assert 0 < rows[0]["epsilon"] <= rows[-1]["epsilon"] <= 8
    # what is no public test metric, and was measured on clients, says so
    of_round = {"round", "cohort", "replied", "dropped", "failed", "aborted"}
    known = of_round | {"epsilon", "attempt", "seconds", "seconds_testing"}
    assert all(name in known or name.startswith(("test_", "diagnostic_")) for row in rows for name in row)
    assert "diagnostic_train_loss" in rows[0]
    _, files, record = HEARD[-1]
    assert record.guarantee["epsilon"] == ran.record.guarantee["epsilon"]
    assert {file.name for file in files} >= {"config.yaml", "run.json", "guarantee.json", "ledger.jsonl"}


@pytest.mark.slow
def test_trackers_change_neither_run_id_nor_bits(run_digits, tmp_path):
    plain = run_digits("model=cnn", "rounds=2", output_dir=tmp_path / "plain")
    tracked = run_digits("model=cnn", "rounds=2", *spec(Vandal), output_dir=tmp_path / "tracked")
    assert tracked.record.run_id == plain.record.run_id
    one, other = (load_file(RunFolder(ran.folder).model) for ran in (plain, tracked))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (plain.folder / "ledger.jsonl").read_bytes() == (tracked.folder / "ledger.jsonl").read_bytes()
    assert (plain.folder / "guarantee.json").read_bytes() != b""
    told = ("metrics", "guarantee")
    assert [getattr(tracked.record, key) for key in told] == [getattr(plain.record, key) for key in told]
    assert [row["round"] for row in tracked.reporter.rows] == [1, 2]
    assert tracked.reporter.notes == []


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["started", "round_done", "finished"])
@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_tracker_that_fails_leaves_one_note_and_the_run_ends_well(run_digits, tmp_path, hook, how):
    others = ["+tracking.other._target_=" + f"{__name__}.Listener"]
    ran = run_digits(*spec(Broken, hook=hook, how=how), *others, output_dir=tmp_path)
    assert ran.record.status == "completed"
    assert len(ran.reporter.notes) == 1
    what = "SystemExit: 3" if how == "exit" else "ConnectionError: the disk of the tracker is full"
    assert ran.reporter.notes == [f"tracker mine failed, and is left out from here on: {what}"]
    assert "tracker" not in (ran.folder / "audit.jsonl").read_text() + (ran.folder / "ledger.jsonl").read_text()
    # it hears no more, the others go on
    by_broken = [heard for heard in HEARD if heard[0] == "round_done" and isinstance(heard[1], int)]
    assert len(by_broken) == {"started": 0, "round_done": 1, "finished": 3}[hook]
    assert [heard[0] for heard in HEARD if heard[0] == "finished"] == ["finished"]


def test_a_tracker_that_hangs_is_left_behind(run_digits, tmp_path):
    began = time.monotonic()
    ran = run_digits(*spec(Broken, hook="round_done", how="hang", timeout=0.2), output_dir=tmp_path)
    assert ran.record.status == "completed"
    assert ran.reporter.notes == ["tracker mine failed, and is left out from here on: no answer within 0.2 s"]
    assert time.monotonic() - began < 25  # it sleeps for 30


def test_a_finished_run_is_told_as_such(run_digits, tmp_path):
    run_digits(output_dir=tmp_path)
    again = run_digits(*spec(Listener), output_dir=tmp_path)
    assert [heard[0] for heard in HEARD] == ["already_done"]
    assert HEARD[0][1] == again.folder
    broken = run_digits(*spec(Broken, hook="already_done", how="raise"), output_dir=tmp_path)
    assert len(broken.reporter.notes) == 1


def test_an_interrupted_run_is_told_and_goes_on_with_its_trackers(run_digits, silent_reporter, tmp_path):
    with pytest.raises(InterruptedRunError):
        run_digits(*spec(Listener), output_dir=tmp_path, reporter=Interrupts())
    assert HEARD[-1] == ("stopped", "interrupted", None)
    HEARD.clear()
    (folder,) = tmp_path.glob("digits_smoke/*")
    resume(folder, reporter=silent_reporter)
    assert HEARD[0][:3] == ("started", 0, 3)  # no checkpoint yet: all is trained again
    assert [heard[0] for heard in HEARD] == ["started", *["round_done"] * 3, "finished"]


def test_a_failed_run_is_told_with_its_error(run_digits, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("a planted failure")

    monkeypatch.setattr("fedpriv.experiment.attempt.save_model", fails)
    with pytest.raises(RuntimeError, match="planted"):
        run_digits(*spec(Listener), output_dir=tmp_path)
    assert HEARD[-1] == ("stopped", "failed", "a planted failure")


def test_with_secret_noise_trackers_get_what_others_may_see(run_digits, tmp_path):
    ran = run_digits(*spec(Listener), "seeds.noise=secret", "evaluation.clients=true", output_dir=tmp_path)
    rows = [heard[1] for heard in HEARD if heard[0] == "round_done"]
    assert set(rows[0]) == {"round", "epsilon", "attempt", "test_accuracy", "test_loss"}
    assert "diagnostic_train_loss" in ran.reporter.rows[0]
    _, files, record = HEARD[-1]
    assert set(record.metrics) == {"test_accuracy", "test_loss", "baseline"}
    assert any(name.startswith("diagnostic_") for name in ran.record.metrics)
    assert {file.name for file in files} == {"config.yaml", "guarantee.json", "guarantee.md"}
    assert all(set(row) == set(rows[0]) for row in rounds_so_far(ran.folder))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+tracking.mine._target_=nowhere.Callback"], r"tracking.mine._target_: there is no class or function"),
        (spec(Mute), r"does not make a fedpriv.tracking.*Callback"),
        (spec(Listener, grating="x"), r"tracking.mine.grating: .* takes no such argument. It takes: greeting"),
        (spec(Listener, timeout=0), r"tracking.mine.timeout=0 must be a positive number"),
        (["+tracking.mine=3"], r"tracking.mine=3 must be a callback"),
        (["tracking=[tensorboard,mlfow]"], r"mlfow"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_is_written(overrides, message, run_digits, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_digits(*overrides, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_a_missing_extra_is_named_before_anything_is_written(name, run_digits, tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.tracking.extras.find_spec", lambda library: None)
    with pytest.raises(ConfigError, match=rf"tracking={name} needs {name}: pip install 'fedpriv\[{name}\]'"):
        run_digits(f"tracking={name}", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_choices_at_once_and_one_taken_out():
    given = ["experiment=digits_smoke", "tracking=[tensorboard,wandb]", "tracking.wandb=null"]
    config = compose(given, config_dir=None)
    assert set(config.tracking) == {"tensorboard"}
    assert compose(["experiment=digits_smoke"], config_dir=None).tracking == {}


def test_a_server_s_password_does_not_belong_in_a_config(run_digits, tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        run_digits("tracking=mlflow", "tracking.mlflow.uri=http://me:hush@localhost:1", output_dir=tmp_path)
    assert "hush" not in str(refused.value)


def test_the_room_is_light():
    import subprocess
    import sys

    code = "import sys, fedpriv.tracking; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"mlflow", "wandb", "tensorboard", "torch"} & set(loaded)
    assert Path(tracking.__file__).name == "__init__.py"


def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next(monkeypatch):
    heard, release = [], threading.Event()

    class Slow(Callback):
        def noted(self, text):
            if text == "first":
                release.wait(10)
            heard.append(text)

    class Interrupted(SimpleQueue):
        def get(self, *arguments, **named):
            raise KeyboardInterrupt

    isolated = Isolated(name="slow", callback=Slow(), timeout=10.0)
    with monkeypatch.context() as patch:
        patch.setattr("fedpriv.tracking.isolation.SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            isolated.tell("noted", "first")
    threading.Timer(0.2, release.set).start()
    isolated.tell("noted", "second")
    assert heard == ["first", "second"]
    isolated.close()
