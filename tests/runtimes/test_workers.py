"""The pool with small apps of its own; whole runs over workers are in test_equal_bits and test_resume."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedpriv.errors import FedprivError
from fedpriv.runtimes import flower_private, pools, workers
from fedpriv.runtimes.pools import borrowed
from fedpriv.runtimes.workers import LocalWorkers

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc")


@pytest.fixture(autouse=True)
def small_workers(monkeypatch):
    """No pool of an earlier test, none for a later one, and nothing imported that these apps do not need."""
    flower_private.become_server()
    monkeypatch.setattr(workers, "IMPORTED_AHEAD", ())
    pools.close_idle()
    yield
    pools.close_idle()


@dataclass
class App:
    """Answers with a number that a function of ``(self)`` finds."""

    find: object
    data: object = None

    def __call__(self, message, context):
        return Message(RecordDict({"found": ConfigRecord({"value": self.find(self)})}), reply_to=message)


def build(find, data=None):
    return App(find, data)


def ask(pool, times=1):
    messages = [Message(RecordDict(), dst_node_id=1, message_type="train") for _ in range(times)]
    for message in messages:
        flower_private.address(message, "asked")
    return [answer.content["found"]["value"] for answer in pool.run(messages)]


def run(find, *, workers=2, modules=None, data=None, times=2):
    """Pids and answers of one run."""
    with borrowed(LocalWorkers(workers=workers), modules=modules or {}) as pool:
        pool.begin(partial(build, find, data), modules=modules or {})
        return pool.pids, ask(pool, times)


def pid(app):
    return os.getpid()


def folder(app):
    return f"{os.getcwd()} {os.environ.get('FEDPRIV_TEST_WORD')} {sys.path[-1]}"


def private_bytes():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024


def growth(app):
    before = private_bytes()
    assert app.data.sum() == len(app.data)
    return private_bytes() - before, private_bytes()


def memory_with_data(app):
    grown, whole = growth(app)
    return [grown, whole]


def suicide(app):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(app):
    raise ValueError("no such thing")


def cannot_build():
    raise ValueError("no such model")


def maps(process):
    return Path(f"/proc/{process}/maps").read_text()


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_answers_come_in_the_order_of_the_messages_from_the_workers_themselves():
    pids, answers = run(pid, times=7)
    assert set(answers) <= set(pids)
    assert os.getpid() not in pids


def test_the_next_run_has_the_same_workers():
    first, _ = run(pid)
    second, answers = run(pid)
    assert second == first
    assert set(answers) <= set(first)


def test_data_are_shared_and_forgotten_with_the_run():
    data = np.ones(1 << 26, dtype=np.uint8)
    pids, ((grown, whole), _) = run(memory_with_data, data=data)
    assert grown < data.nbytes / 8
    pids_before, ((_, without), _) = run(memory_with_data, data=data[:1])
    assert pids_before == pids
    assert whole - without < data.nbytes / 8
    until(lambda: not any("(deleted)" in maps(process) for process in pids))


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [{"workers": 3}, {"modules": {"mine": "edited"}}], ids=["more", "an edited module"])
def test_other_workers_where_these_do_not_suit(wanted):
    first, _ = run(pid, modules={"mine": "as it was"})
    second, _ = run(pid, **wanted)
    assert not set(first) & set(second)
    assert not any(Path(f"/proc/{process}").exists() for process in first)


@pytest.mark.slow
def test_modules_that_the_earlier_run_did_not_import_are_no_matter():
    first, _ = run(pid, modules={"mine": "1"})
    assert run(pid, modules={"other": "1"})[0] == first
    assert run(pid, modules={})[0] == first
    assert run(pid, modules={"mine": "2"})[0] != first


def test_a_run_finds_folder_environment_and_path_as_they_are_now(tmp_path, monkeypatch):
    pids, _ = run(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDPRIV_TEST_WORD", "told")
    monkeypatch.syspath_prepend(tmp_path)
    sys.path.append("/last")
    again, answers = run(folder)
    assert again == pids
    assert answers == [f"{tmp_path} told /last"] * 2


def test_a_worker_that_died_while_nobody_looked_is_replaced():
    first, _ = run(pid)
    os.kill(first[0], signal.SIGKILL)
    until(lambda: Path(f"/proc/{first[0]}/stat").read_text().split()[2] == "Z")
    until(lambda: len(list(Path(f"/proc/{first[0]}/task").iterdir())) == 1)  # its threads are gone, too
    second, answers = run(pid)
    assert not set(first) & set(second)
    assert set(answers) <= set(second)


def test_a_worker_that_dies_at_work_fails_the_run_and_ends_the_others():
    first, _ = run(pid)
    with pytest.raises(FedprivError, match=r"Worker process \d+ ended by itself \(exit code -9"):
        run(suicide)
    assert not any(Path(f"/proc/{process}").exists() for process in first)
    assert run(pid)[0] != first


def test_what_fails_in_a_worker_is_told():
    with pytest.raises(FedprivError, match="A worker failed: ValueError: no such thing"):
        run(fail)
    with (
        pytest.raises(FedprivError, match="A worker failed: ValueError: no such model"),
        borrowed(LocalWorkers(workers=1), modules={}) as pool,
    ):
        pool.begin(cannot_build, modules={})


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_workers_of_an_interrupted_run_are_not_used_again(stop):
    pids = []

    def stopped():
        with borrowed(LocalWorkers(workers=1), modules={}) as pool:
            pids.extend(pool.pids)
            raise stop

    with pytest.raises(stop):
        stopped()
    assert not any(Path(f"/proc/{process}").exists() for process in pids)


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from functools import partial
from fedpriv.runtimes import flower_private, pools, workers
import test_workers

def own():
    return test_workers.App(test_workers.pid)

def main(build):
    flower_private.become_server()
    workers.IMPORTED_AHEAD = ()
    with pools.borrowed(workers.LocalWorkers(workers=2), modules={{}}) as pool:
        pool.begin(build, modules={{}})
        print(set(test_workers.ask(pool, 4)) <= set(pool.pids), *pool.pids)

{call}
"""
ELSEWHERE = "partial(test_workers.build, test_workers.pid)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "told"),
    [
        (f"main({ELSEWHERE})", "True"),
        ("if __name__ == '__main__':\n    main(own)", "True"),
        ("main(own)", "Put what it does below `if __name__ == '__main__':`"),
    ],
    ids=["nothing of its own", "guarded", "unguarded"],
)
def test_a_script_needs_a_guard_only_where_workers_need_what_it_defines(call, told, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), call=call))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert told in done.stdout + done.stderr
    if told == "True":
        assert done.stderr == ""
        assert len(done.stdout.splitlines()) == 1, "the script ran once"
        assert not any(Path(f"/proc/{process}").exists() for process in done.stdout.split()[1:])
