import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fedpriv.errors import DamagedRunError, FedprivError, InputError
from fedpriv.records.atomic import temporary
from fedpriv.records.checkpoint import CHECKPOINT_NAME, load_checkpoint, save_checkpoint, save_model

STATE = {
    "round": 7,
    "loss": 0.1 + 0.2,
    "nan": float("nan"),
    "inf": float("inf"),
    "key": 2**127 + 1,
    "é": [None],
}


def tensors() -> dict[str, torch.Tensor]:
    shared = torch.arange(6, dtype=torch.float32)
    return {
        "layer.weight": shared.reshape(2, 3),
        "layer.transposed": shared.reshape(2, 3).T,
        "alias": shared,
        "half": torch.tensor([1.5, float("nan"), float("inf")], dtype=torch.bfloat16),
        "steps": torch.tensor(3),
        "scale": torch.tensor(0.1, dtype=torch.float64),
        "mask": torch.tensor([True, False]),
        "empty": torch.empty((0, 4)),
        "trained": torch.ones(2, requires_grad=True),
    }


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
        == right.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
    )


def test_tensors_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, tensors=tensors(), state=STATE)
    loaded = load_checkpoint(folder)
    assert loaded is not None
    assert loaded.tensors.keys() == tensors().keys()
    assert all(same(loaded.tensors[name], tensor) for name, tensor in tensors().items())
    assert repr(sorted(loaded.state.items())) == repr(sorted(STATE.items()))
    loaded.tensors["steps"].add_(1)
    again = load_checkpoint(folder)
    assert again is not None
    assert again.tensors["steps"].item() == 3, "what is loaded is not mapped from the file"


def test_no_checkpoint_yet_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "checkpoint") is None
    (tmp_path / "checkpoint").mkdir()
    temporary(tmp_path / "checkpoint" / CHECKPOINT_NAME).write_bytes(b"half")
    assert load_checkpoint(tmp_path / "checkpoint") is None


def test_a_later_checkpoint_replaces_the_earlier_and_leaves_one_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tensors=tensors(), state={"round": 1})
    temporary(tmp_path / CHECKPOINT_NAME).write_bytes(b"what a kill left")
    save_checkpoint(tmp_path, tensors={}, state={"round": 2})
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert (dict(loaded.tensors), loaded.state) == ({}, {"round": 2})
    assert os.listdir(tmp_path) == [CHECKPOINT_NAME]


def test_every_truncation_is_found(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, tensors=tensors(), state=STATE)
    path = tmp_path / CHECKPOINT_NAME
    data = path.read_bytes()
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedRunError, match="force=true"):
            load_checkpoint(tmp_path)
    path.write_bytes(data + b"\0")
    with pytest.raises(DamagedRunError):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_every_flipped_byte_is_found(tmp_path: Path, flip: int) -> None:
    save_checkpoint(tmp_path, tensors=tensors(), state=STATE)
    path = tmp_path / CHECKPOINT_NAME
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
        with pytest.raises(DamagedRunError, match="force=true"):
            load_checkpoint(tmp_path)


def test_a_foreign_safetensors_file_and_a_later_format_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / CHECKPOINT_NAME, tensors())
    with pytest.raises(DamagedRunError):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path, tensors={}, state={})
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(path.read_bytes().replace(b'\\"format\\": 1', b'\\"format\\": 2'))
    with pytest.raises(DamagedRunError, match="of a format"):
        load_checkpoint(tmp_path)


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, tensors=tensors(), state={"round": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FedprivError, match="No space left") as caught:
            save_checkpoint(tmp_path, tensors=tensors(), state={"round": 2})
    assert caught.value.exit_code == 1
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.state == {"round": 1}
    assert os.listdir(tmp_path) == [CHECKPOINT_NAME]


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("in the way")
    with pytest.raises(InputError, match="in the way"):
        save_checkpoint(tmp_path / "checkpoint", tensors={}, state={})


def test_a_state_too_large_to_be_read_again_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too large"):
        save_checkpoint(tmp_path, tensors={}, state={"text": "x" * 50_000_000})
    assert load_checkpoint(tmp_path) is None


def test_the_same_model_gives_the_same_bytes_whatever_its_order_and_layout(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", tensors())
    reordered = {name: tensor.clone() for name, tensor in reversed(tensors().items())}
    save_model(tmp_path / "b.safetensors", reordered)
    save_model(tmp_path / "c.safetensors", {**reordered, "steps": torch.tensor(4)})
    a, b, c = (hashlib.sha256((tmp_path / f"{name}.safetensors").read_bytes()).digest() for name in "abc")
    assert a == b
    assert a != c


WRITER = """
import sys, torch
from pathlib import Path
from fedpriv.records.checkpoint import save_checkpoint
for number in range(1, 1_000_000):
    save_checkpoint(Path(sys.argv[1]), tensors={"w": torch.full((200_000,), number)}, state={"round": number})
    print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_writers_leave_the_last_whole_checkpoint(tmp_path: Path) -> None:
    for pause in (0.0, 0.013, 0.029):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(pause)
            writer.send_signal(signal.SIGKILL)
            acknowledged = int([first, *writer.stdout.readlines()][-1])
        loaded = load_checkpoint(tmp_path)
        assert loaded is not None
        assert loaded.state["round"] in (acknowledged, acknowledged + 1)
        assert loaded.tensors["w"].unique().tolist() == [loaded.state["round"]]
