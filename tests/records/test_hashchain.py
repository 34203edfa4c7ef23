import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import DamagedRunError, FedprivError
from fedpriv.records.hashchain import GENESIS, ChainMismatchError, HashChain, read_chain

ENTRIES: list[dict[str, Any]] = [
    {"round": 1, "noise_multiplier": 1.1, "clients": [3, 5, 8]},
    {"round": 2, "noise_multiplier": 0.1 + 0.2, "clients": [], "word": "é\n\u2028"},
    {"round": 3, "noise_multiplier": 1e300, "group": None, "deep": {"hash": "x", "a": [1.0, {}]}},
]


def reopen(path: Path, count: int = 0, head: str = GENESIS) -> HashChain:
    return HashChain.open(path, trusted_count=count, trusted_head=head)


def written(path: Path, entries: list[dict[str, Any]] = ENTRIES) -> list[str]:
    with reopen(path) as chain:
        return [chain.append(entry) for entry in entries]


def own(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("hash", "index", "prev")}


def test_entries_come_back_as_written_each_naming_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    with reopen(path, 3, hashes[-1]) as chain:
        assert [own(entry) for entry in chain.entries] == ENTRIES
        assert [entry["prev"] for entry in chain.entries] == [GENESIS, *hashes[:-1]]
        assert (chain.count, chain.head, chain.dropped_torn_line) == (3, hashes[-1], False)
    assert read_chain(path, trusted_count=3, trusted_head=hashes[-1], exact=True) == list(chain.entries)


def test_the_hash_can_be_recomputed_with_nothing_but_sha256_and_json(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        claimed = entry.pop("hash")
        canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(canonical.encode()).hexdigest() == claimed


def test_the_first_line_of_a_chain_has_the_documented_bytes(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    written(path, [{"b": 0.1, "a": True}])
    body = '{"a":true,"b":0.1,"index":0,"prev":"' + "0" * 64 + '"}'
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert path.read_text() == body.replace('"index"', f'"hash":"{digest}","index"') + "\n"


def test_appending_after_reopening_gives_the_same_bytes_as_one_writer(tmp_path: Path) -> None:
    one, many = tmp_path / "one.jsonl", tmp_path / "many.jsonl"
    written(one)
    for entry in ENTRIES:
        with reopen(many) as chain:
            chain.append(entry)
    assert one.read_bytes() == many.read_bytes()


def test_numpy_values_are_written_as_plain_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with reopen(path) as chain:
        chain.append(
            {"clients": np.arange(3), "sigma": np.float64(0.1), "n": np.int64(7), "ok": np.bool_(True)}
        )
        assert own(next(chain.entries)) == {"clients": [0, 1, 2], "sigma": 0.1, "n": 7, "ok": True}
    assert read_chain(path) == list(chain.entries)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({"x": float("nan")}, ValueError),
        ({"x": [np.inf]}, ValueError),
        ({"x": {1, 2}}, TypeError),
        ({"prev": "mine"}, ValueError),
    ],
)
def test_what_a_chain_cannot_hold_is_refused_and_leaves_it_as_it_was(
    tmp_path: Path, entry: dict[str, Any], error: type[Exception]
) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    before = path.read_bytes()
    with reopen(path) as chain, pytest.raises(error):
        chain.append(entry)
    assert path.read_bytes() == before


def test_every_cut_of_the_last_line_is_dropped_and_the_chain_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    data = path.read_bytes()
    start = data[:-1].rindex(b"\n") + 1
    for length in range(start, len(data)):
        path.write_bytes(data[:length])
        assert len(read_chain(path, trusted_count=2, trusted_head=hashes[1])) == 2
        assert path.stat().st_size == length, "a reader changes nothing"
        with reopen(path, 2, hashes[1]) as chain:
            assert chain.dropped_torn_line == (length > start)
            assert path.read_bytes() == data[:start]
            chain.append(ENTRIES[2])
        assert path.read_bytes() == data


def test_a_cut_below_the_trusted_count_is_an_error_and_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    data = path.read_bytes()
    for length in [*range(0, len(data) - 1, 7), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedRunError, match=r"ledger\.jsonl"):
            reopen(path, 3, hashes[-1])
        assert path.read_bytes() == data[:length]


@pytest.mark.parametrize("tail", [b'{"half', b"\0\0\0\0", b"rubbish\n", b"[1]\n", b"\n"])
def test_an_unreadable_tail_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    data = path.read_bytes()
    path.write_bytes(data + tail)
    with reopen(path, 3, hashes[-1]) as chain:
        assert chain.dropped_torn_line
    assert path.read_bytes() == data


@settings(max_examples=300, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_in_a_trusted_line_is_always_found(
    share: float, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("chain") / "ledger.jsonl"
    hashes = written(path)
    data = bytearray(path.read_bytes())
    position = int(share * len(data))
    data[position] ^= flip
    path.write_bytes(data)
    line = bytes(data[:position]).count(b"\n") + 1
    with pytest.raises(DamagedRunError) as caught:
        reopen(path, 3, hashes[-1])
    # A newline made or lost by the flip moves the numbering by one.
    told = str(caught.value)
    assert any(f"line {line + shift}" in told for shift in (-1, 0, 1))
    assert path.read_bytes() == data


def test_a_middle_line_beyond_the_checkpoint_is_not_torn_but_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    with pytest.raises(DamagedRunError, match="line 2"):
        reopen(path)


def test_a_readable_last_line_with_another_number_is_damaged_not_torn(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written(path)
    path.write_bytes(path.read_bytes().replace(b"1e+300", b"2e+300"))
    with pytest.raises(ChainMismatchError, match="line 3"):
        reopen(path)
    with pytest.raises(ChainMismatchError, match="line 3"):
        read_chain(path)


@pytest.mark.parametrize("line", [b"{}", b'{"hash":"\\ud800"}', b'{"hash":null,"index":0}', b"[" * 100_000])
def test_a_foreign_line_is_damage(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(line + b"\n{}\n")
    with pytest.raises(DamagedRunError, match="line 1"):
        reopen(path)


def test_removed_swapped_and_repeated_lines_are_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    for lines in (
        (first, third),
        (second, third),
        (second, first, third),
        (first, first, second),
        (first, second),
    ):
        path.write_bytes(b"".join(lines))
        with pytest.raises(ChainMismatchError):
            reopen(path, 3, hashes[-1])


def test_a_chain_rewritten_from_the_start_is_found_by_its_trusted_head(tmp_path: Path) -> None:
    path, other = tmp_path / "ledger.jsonl", tmp_path / "other.jsonl"
    hashes = written(path)
    written(other, [{**ENTRIES[0], "noise_multiplier": 9.9}, *ENTRIES[1:]])
    with pytest.raises(ChainMismatchError, match="line 3"):
        reopen(other, 3, hashes[-1])
    with pytest.raises(ChainMismatchError):
        reopen(path, 0, hashes[-1])


def test_an_exact_reader_refuses_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path)
    assert len(read_chain(path, trusted_count=2, trusted_head=hashes[1])) == 3
    with pytest.raises(ChainMismatchError, match="goes on after its 2 lines"):
        read_chain(path, trusted_count=2, trusted_head=hashes[1], exact=True)
    with path.open("ab") as file:
        file.write(b"{")
    with pytest.raises(ChainMismatchError):
        read_chain(path, trusted_count=3, trusted_head=hashes[2], exact=True)


def test_a_missing_trusted_chain_is_an_error_and_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(DamagedRunError, match="missing"):
        reopen(path, 1, "a" * 64)
    with pytest.raises(DamagedRunError, match="Cannot read"):
        read_chain(path)
    assert not path.exists()


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_failing_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, failure: BaseException
) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path, ENTRIES[:2])
    data = path.read_bytes()
    pwrite = os.pwrite

    def half(descriptor: int, view: memoryview, offset: int) -> int:
        if offset > len(data):
            raise failure
        return pwrite(descriptor, view[:10], offset)

    def fail(_: int) -> None:
        raise failure

    with reopen(path, 2, hashes[1]) as chain:
        with monkeypatch.context() as patch:
            patch.setattr(os, call, half if call == "pwrite" else fail)
            expected = FedprivError if isinstance(failure, OSError) else KeyboardInterrupt
            with pytest.raises(expected) as caught:
                chain.append(ENTRIES[2])
        if isinstance(caught.value, FedprivError):
            assert caught.value.exit_code == 1
            assert "Free some space" in str(caught.value)
        assert path.read_bytes() == data
        assert (chain.count, chain.head) == (2, hashes[1])
        chain.append(ENTRIES[2])
    assert len(read_chain(path)) == 3


def test_a_chain_whose_failed_write_cannot_be_undone_takes_no_further_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    hashes = written(path, ENTRIES[:2])

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    chain = reopen(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(os, "ftruncate", fail)
        with pytest.raises(FedprivError):
            chain.append(ENTRIES[2])
    with pytest.raises(ValueError, match="closed"):
        chain.append(ENTRIES[2])
    with reopen(path, 2, hashes[1]) as chain:
        assert [own(entry) for entry in chain.entries][:2] == ENTRIES[:2]


def test_every_line_is_synced_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    synced: list[int] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(path.stat().st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with reopen(path) as chain:
        assert len(synced) == 2, "opening syncs the file and its folder"
        for entry in ENTRIES:
            chain.append(entry)
            assert synced[-1] == path.stat().st_size
    assert len(synced) == 5


def test_a_really_full_disk_leaves_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    code = """
import resource, sys
from pathlib import Path
from fedpriv.errors import FedprivError
from fedpriv.records.hashchain import GENESIS, HashChain
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
chain = HashChain.open(Path(sys.argv[1]), trusted_count=0, trusted_head=GENESIS)
try:
    while True:
        chain.append({"text": "x" * 100})
except FedprivError as error:
    print(chain.count, chain.head)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    count, head = done.stdout.split()
    assert int(count) > 10
    assert path.stat().st_size <= 5000
    assert len(read_chain(path, trusted_count=int(count), trusted_head=head, exact=True)) == int(count)


WRITER = """
import sys
from pathlib import Path
from fedpriv.records.hashchain import GENESIS, HashChain
with HashChain.open(Path(sys.argv[1]), trusted_count=0, trusted_head=GENESIS) as chain:
    while True:
        chain.append({"clients": list(range(20_000))})
        print(chain.count, chain.head, flush=True)
"""


def test_killed_writers_lose_no_acknowledged_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    count, head = 0, GENESIS
    rng = random.Random(0)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
            lines = [first, *writer.stdout.readlines()]
        acknowledged = [line for line in lines if line.endswith("\n")][-1].split()
        assert int(acknowledged[0]) > count
        count, head = int(acknowledged[0]), acknowledged[1]
        with reopen(path, count, head) as chain:
            assert chain.count in (count, count + 1)


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_read_in_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    with monkeypatch.context() as patch, reopen(path) as chain:
        patch.setattr(os, "fsync", lambda _: None)
        for number in range(100_000):
            chain.append({"round": number, "sigma": 1.1, "kind": "gaussian"})
    start = time.process_time()
    assert len(read_chain(path, trusted_count=chain.count, trusted_head=chain.head, exact=True)) == 100_000
    assert time.process_time() - start < 5
