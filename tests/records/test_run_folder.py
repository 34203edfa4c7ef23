import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedpriv.errors import DamagedRunError, InputError
from fedpriv.records.run_folder import RunFolder

OWNER = """
import sys, time
from pathlib import Path
from fedpriv.errors import InputError
from fedpriv.records.run_folder import RunFolder
try:
    with RunFolder(Path(sys.argv[1])).acquire():
        print("mine", flush=True)
        time.sleep(60 if len(sys.argv) > 2 else 0)
except InputError as error:
    print(error, flush=True)
"""


def owner(folder: RunFolder, *more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, folder.path, *more], stdout=subprocess.PIPE, text=True
    )


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out" / "name" / "id")
    folder.create()
    folder.create()
    assert folder.path.is_dir()


@pytest.mark.parametrize("way", ["out", "out/name", "out/name/id"])
def test_a_file_in_the_way_is_told(tmp_path: Path, way: str) -> None:
    (tmp_path / way).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / way).write_text("")
    with pytest.raises(InputError, match=r"in the way.*Choose another output_dir"):
        RunFolder(tmp_path / "out" / "name" / "id").create()


def test_an_unwritable_place_is_told() -> None:
    with pytest.raises(InputError, match="Cannot write /proc/fedpriv"):
        RunFolder(Path("/proc/fedpriv/run")).create()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_a_folder_without_write_permission_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    code = """
import os, sys
from pathlib import Path
from fedpriv.errors import InputError
from fedpriv.records.run_folder import RunFolder
os.chdir(sys.argv[1])
os.setuid(65534)
for attempt in (RunFolder(Path("new")).create, RunFolder(Path("run")).acquire().__enter__):
    try:
        attempt()
    except InputError as error:
        print(error)
"""
    tmp_path.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.stdout.count("you have no permission to write there") == 2, done.stderr


def test_a_second_owner_in_this_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.acquire():
        with pytest.raises(InputError, match="Another process"), RunFolder(tmp_path).acquire():
            pass
        with pytest.raises(InputError, match="Another process"), folder.acquire():
            pass
    with folder.acquire():
        pass


def test_two_processes_contend_and_a_killed_owner_lets_go(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with owner(folder, "stay") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        with owner(folder) as second:
            assert second.stdout is not None
            assert "Another process" in second.stdout.read()
        first.send_signal(signal.SIGKILL)
    with owner(folder) as third:
        assert third.stdout is not None
        assert third.stdout.read() == "mine\n"


def test_the_owner_removes_what_a_killed_write_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for place in (folder.path, folder.checkpoint, folder.parts):
        place.mkdir(exist_ok=True)
        (place / ".something.tmp").write_text("half")
        (place / "kept").write_text("whole")
    with folder.acquire():
        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".lock"] + ["kept"] * 3


def test_a_missing_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=r"no run folder at .*run\.json"):
        folder.read_run_json()
    with pytest.raises(InputError, match=r"no run folder at"), folder.acquire():
        pass
    assert not folder.path.exists()


def test_a_folder_without_its_record_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedRunError, match=r"run\.json"):
        RunFolder(tmp_path).read_run_json()
