"""Weights & Biases: an offline folder that holds the run, and nothing on the network."""

import json
import socket
import struct

import pytest

pytest.importorskip("wandb", reason="needs the extra wandb")
pytestmark = pytest.mark.slow


def records(folder):
    """wandb's messages in the offline file, a log in LevelDB's format: blocks of 32 KiB after 7 bytes of header."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, whole, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, last
            found.append(Record.FromString(whole))
            whole = b""
    return found


def key_of(item):
    return item.key or ".".join(item.nested_key)


def test_a_run_leaves_an_offline_folder_with_config_and_rounds(run_digits, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given) or [])
    ran = run_digits("tracking=wandb", "tracking.wandb.parent=my sweep", output_dir=tmp_path)
    assert ran.reporter.notes == []
    assert asked == []
    found = records(ran.folder)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.run_group, run.project) == (ran.record.run_id, "my sweep", "fedpriv")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["privacy.epsilon"] == 8
    assert run.host == "not told"
    rounds = [
        {key_of(item): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    assert [row["_step"] for row in rounds] == [1, 2, 3]
    assert [row["epsilon"] for row in rounds] == [row["epsilon"] for row in ran.reporter.rows]
    summary = {
        key_of(item): json.loads(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["guarantee_epsilon"] == ran.record.guarantee["epsilon"]
    assert summary["status"] == "completed"


def test_a_broken_wandb_is_noted_and_the_run_ends_well(run_digits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ran = run_digits("tracking=wandb", f"tracking.wandb.dir={tmp_path / 'file'}", output_dir=tmp_path)
    assert ran.record.status == "completed"
    assert [note.split(":")[0] for note in ran.reporter.notes] == ["tracker wandb failed, and is left out from here on"]
