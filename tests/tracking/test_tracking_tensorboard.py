"""TensorBoard's own reader finds what a run wrote."""

import pytest

from fedpriv.errors import InterruptedRunError
from fedpriv.experiment import resume
from fedpriv.tracking import Callback

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")


class InterruptsAfterACheckpoint(Callback):
    def round_done(self, row, failures):
        if row["round"] == 3:
            raise KeyboardInterrupt


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def rounded(pairs):
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in pairs]


def test_scalars_by_round_are_read_back(run_digits, tmp_path):
    ran = run_digits("tracking=tensorboard", output_dir=tmp_path)
    for name in ("epsilon", "test_accuracy", "diagnostic_train_loss"):
        told = [(row["round"], row[name]) for row in ran.reporter.rows]
        assert scalars(ran.folder / "tensorboard", name) == rounded(told)
    assert ran.reporter.notes == []


def test_hyperparameters_lie_beside_what_they_reached(run_digits, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    ran = run_digits("tracking=tensorboard", f"tracking.tensorboard.dir={tmp_path / 'board'}", output_dir=tmp_path)
    folder = tmp_path / "board" / ran.folder.parent.name / ran.folder.name
    events = EventAccumulator(str(folder))
    events.Reload()
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["privacy.epsilon"].number_value == 8
    assert given["model._target_"].string_value.startswith("fedpriv.models")
    assert scalars(folder, "final/guarantee_epsilon")[0][1] == pytest.approx(ran.record.guarantee["epsilon"], rel=1e-6)
    assert not (ran.folder / "tensorboard").exists()


def test_a_resumed_run_goes_on_without_showing_a_round_twice(run_digits, silent_reporter, tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.experiment.attempt._CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(InterruptedRunError):
        run_digits("tracking=tensorboard", "rounds=5", output_dir=tmp_path, reporter=InterruptsAfterACheckpoint())
    (folder,) = tmp_path.glob("digits_smoke/*")
    resume(folder, reporter=silent_reporter)
    assert [row["round"] for row in silent_reporter.rows][-1] == 5
    assert [step for step, _ in scalars(folder / "tensorboard", "epsilon")] == [1, 2, 3, 4, 5]


def test_where_nothing_is_claimed_there_is_no_epsilon(run_digits, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ran = run_digits("tracking=tensorboard", "privacy=none", output_dir=tmp_path)
    events = EventAccumulator(str(ran.folder / "tensorboard"))
    events.Reload()
    names = events.Tags()["scalars"]
    assert "test_accuracy" in names
    assert [name for name in names if "epsilon" in name] == []


def test_a_place_that_cannot_be_written_is_noted(run_digits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ran = run_digits("tracking=tensorboard", f"tracking.tensorboard.dir={tmp_path / 'file'}", output_dir=tmp_path)
    assert ran.record.status == "completed"
    assert [note.split(":")[0] for note in ran.reporter.notes] == [
        "tracker tensorboard failed, and is left out from here on"
    ]
