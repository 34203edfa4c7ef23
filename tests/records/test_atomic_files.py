import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import FedprivError, InputError
from fedpriv.records.atomic import (
    atomic_file,
    remove_temporaries,
    temporary,
    write_json_atomic,
    write_text_atomic,
)


def test_a_file_is_replaced_whole_and_nothing_is_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_text_atomic(path, "old")
    write_text_atomic(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert os.listdir(tmp_path) == ["config.yaml"]


def test_a_raising_writer_leaves_the_old_file_and_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_text_atomic(path, "old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [(errno.ENOSPC, FedprivError, 1), (errno.EIO, FedprivError, 1), (errno.EROFS, InputError, 2)],
)
def test_a_failing_disk_is_told_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, kind: type, exit_code: int
) -> None:
    path = tmp_path / "run.json"
    write_text_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind, match=r"run\.json") as caught:
        write_text_atomic(path, "new")
    assert caught.value.exit_code == exit_code
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_really_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")
    code = """
import resource, sys
from pathlib import Path
from fedpriv.errors import FedprivError
from fedpriv.records.atomic import write_bytes_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write_bytes_atomic(Path(sys.argv[1]), bytes(100_000))
except FedprivError as error:
    sys.exit(f"told: {error}")
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "told: Cannot write" in done.stderr
    assert "Free some space" in done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.bin"]


def test_what_a_kill_left_aside_is_replaced_and_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    temporary(path).write_text("half")
    write_text_atomic(path, "whole")
    assert os.listdir(tmp_path) == ["run.json"]
    temporary(path).write_text("half")
    remove_temporaries(tmp_path)
    remove_temporaries(tmp_path / "missing")
    assert os.listdir(tmp_path) == ["run.json"]
    assert path.read_text() == "whole"


def test_json_is_strict_with_null_for_what_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    value = {
        "loss": float("nan"),
        "list": (1, np.float32("inf"), [-np.inf]),
        "array": np.array([0.1, np.nan]),
    }
    write_json_atomic(path, value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(path.read_text(), parse_constant=refuse)
    assert read == {"loss": None, "list": [1, None, [None]], "array": [0.1, None]}
