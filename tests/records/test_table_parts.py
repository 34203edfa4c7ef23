import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedpriv.errors import DamagedRunError, FedprivError
from fedpriv.records.tables import TableParts, read_table


def rounds(table: pa.Table) -> list[int]:
    return [int(number) for number in table["round"].to_pylist()]


def table_of(folder: Path, *bounds: tuple[int, int], name: str = "rounds") -> TableParts:
    table = TableParts(folder=folder, name=name)
    for first, last in bounds:
        table.add_rows({"round": number, "loss": number / 10} for number in range(first, last + 1))
        table.flush(first, last)
    return table


def test_parts_are_read_while_running_and_one_file_at_the_end(tmp_path: Path) -> None:
    table = table_of(tmp_path, (1, 2), (3, 9), (10, 10))
    assert sorted(os.listdir(tmp_path / "parts")) == [
        "rounds-1-2.parquet",
        "rounds-10-10.parquet",
        "rounds-3-9.parquet",
    ]
    running = read_table(tmp_path, "rounds")
    assert rounds(running) == list(range(1, 11))
    table.finish()
    assert os.listdir(tmp_path) == ["rounds.parquet"]
    assert read_table(tmp_path, "rounds").equals(running)
    assert pq.read_table(tmp_path / "rounds.parquet").equals(running)
    table.finish()
    assert rounds(read_table(tmp_path, "rounds")) == list(range(1, 11))


def test_integers_stay_integers_and_missing_values_are_null(tmp_path: Path) -> None:
    table = TableParts(folder=tmp_path, name="rounds")
    table.add_rows([{"round": 1, "cohort": None, "epsilon": None, "kind": None}])
    table.flush(1, 1)
    table.add_rows([{"round": np.int32(2), "cohort": 2**53 + 1}, {"round": 3, "epsilon": np.float32(0.5)}])
    table.add_rows([{"round": 4, "kind": "poisson", "ok": True, "nothing": None}])
    table.flush(2, 4)
    table.finish()
    read = read_table(tmp_path, "rounds")
    assert {name: str(read.schema.field(name).type) for name in read.column_names} == {
        "round": "int64",
        "cohort": "int64",
        "epsilon": "double",
        "kind": "string",
        "ok": "bool",
        "nothing": "null",
    }
    assert read.to_pydict() == {
        "round": [1, 2, 3, 4],
        "cohort": [None, 2**53 + 1, None, None],
        "epsilon": [None, None, 0.5, None],
        "kind": [None, None, None, "poisson"],
        "ok": [None, None, None, True],
        "nothing": [None] * 4,
    }


def test_columns_of_arrays_take_scalars_for_all_their_rows(tmp_path: Path) -> None:
    table = TableParts(folder=tmp_path, name="clients")
    table.add_columns(
        {"round": 1, "client": np.array([4, 9], dtype=np.uint32), "loss": np.array([0.5, np.nan])}
    )
    table.add_columns({"round": 2, "client": [], "loss": np.array([])})
    table.add_columns({"round": np.array([3]), "client": np.array([7]), "loss": None})
    table.flush(1, 3)
    read = read_table(tmp_path, "clients")
    assert read["round"].to_pylist() == [1, 1, 3]
    assert read["client"].to_pylist() == [4, 9, 7]
    assert pa.types.is_integer(read.schema.field("client").type)
    assert repr(read["loss"].to_pylist()) == "[0.5, nan, None]"


def test_a_part_without_rows_is_not_written_and_an_empty_table_is_a_table(tmp_path: Path) -> None:
    table = TableParts(folder=tmp_path, name="clients")
    table.flush(1, 1)
    table.add_columns({"round": 2, "client": np.array([], dtype=int)})
    table.flush(2, 2)
    assert os.listdir(tmp_path) == []
    assert read_table(tmp_path, "clients").num_rows == 0
    table.finish()
    assert pq.read_table(tmp_path / "clients.parquet").column_names == ["round"]


def test_rows_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    table = TableParts(folder=tmp_path, name="rounds")
    with pytest.raises(ValueError, match="needs its round"):
        table.add_rows([{"loss": 1.0}])
    table.add_rows([{"round": 1}, {"round": 3}])
    with pytest.raises(ValueError, match="not of rounds 1 to 2"):
        table.flush(1, 2)
    with pytest.raises(ValueError, match="not flushed"):
        table.finish()
    table.discard_after(0)
    table.add_rows([{"round": 1}, {"round": None}])
    with pytest.raises(ValueError, match="without its round"):
        table.flush(1, 2)
    table.discard_after(0)
    table.add_columns({"round": 1, "client": [1, 2], "loss": [0.5]})
    with pytest.raises(ValueError, match="unlike lengths"):
        table.flush(1, 1)
    assert os.listdir(tmp_path) == []


def test_a_column_that_changes_its_kind_is_refused_at_once(tmp_path: Path) -> None:
    table_of(tmp_path, (1, 2))
    resumed = TableParts(folder=tmp_path, name="rounds")
    resumed.add_rows([{"round": 3, "loss": "low"}])
    with pytest.raises(TypeError, match="loss"):
        resumed.flush(3, 3)
    assert rounds(read_table(tmp_path, "rounds")) == [1, 2]


def test_what_lies_beyond_the_checkpoint_is_discarded_and_done_again(tmp_path: Path) -> None:
    table_of(tmp_path, (1, 4), (5, 6), (7, 9))
    table_of(tmp_path, (1, 9), name="rounds-extra")
    resumed = TableParts(folder=tmp_path, name="rounds")
    resumed.discard_after(6)
    assert rounds(read_table(tmp_path, "rounds")) == [1, 2, 3, 4, 5, 6]
    resumed.add_rows({"round": number, "loss": 0.0} for number in (7, 8))
    resumed.flush(7, 8)
    assert rounds(read_table(tmp_path, "rounds")) == list(range(1, 9))
    assert rounds(read_table(tmp_path, "rounds-extra")) == list(range(1, 10))
    resumed.discard_after(0)
    assert rounds(read_table(tmp_path, "rounds")) == []


def test_a_part_across_the_checkpoint_and_overlapping_parts_are_damage(tmp_path: Path) -> None:
    table = table_of(tmp_path, (1, 4))
    with pytest.raises(DamagedRunError, match="rounds-1-4"):
        table.discard_after(3)
    table_of(tmp_path, (4, 5))
    with pytest.raises(DamagedRunError, match="same rounds"):
        read_table(tmp_path, "rounds")


@pytest.mark.parametrize("keep", [0, 1, 2, 3])
def test_a_finish_killed_between_merging_and_removing_is_completed(tmp_path: Path, keep: int) -> None:
    table_of(tmp_path, (1, 2), (3, 4), (5, 6))
    whole = read_table(tmp_path, "rounds")
    pq.write_table(whole, tmp_path / "rounds.parquet")
    for part in sorted((tmp_path / "parts").iterdir())[: 3 - keep]:
        part.unlink()
    assert read_table(tmp_path, "rounds").equals(whole)
    TableParts(folder=tmp_path, name="rounds").finish()
    assert os.listdir(tmp_path) == ["rounds.parquet"]
    assert read_table(tmp_path, "rounds").equals(whole)


@pytest.mark.parametrize("leftover", [False, True])
def test_a_finished_table_can_go_on_from_a_checkpoint(tmp_path: Path, leftover: bool) -> None:
    table = table_of(tmp_path, (1, 2), (3, 4), (5, 6))
    table.finish()
    if leftover:  # a kill while an earlier discard wrote its part
        (tmp_path / "aside").mkdir()
        table_of(tmp_path / "aside", (1, 5))
        (tmp_path / "aside" / "parts").rename(tmp_path / "parts")
    resumed = TableParts(folder=tmp_path, name="rounds")
    resumed.add_rows([{"round": 7, "loss": 0.0}])
    with pytest.raises(ValueError, match="discard_after"):
        resumed.flush(7, 7)
    resumed.discard_after(4)
    assert os.listdir(tmp_path / "parts") == ["rounds-1-4.parquet"]
    resumed.add_rows([{"round": 5, "loss": 9.0}])
    resumed.flush(5, 5)
    resumed.finish()
    assert read_table(tmp_path, "rounds")["loss"].to_pylist() == [0.1, 0.2, 0.3, 0.4, 9.0]


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, (1, 2))
    part = tmp_path / "parts" / "rounds-1-2.parquet"
    part.write_bytes(part.read_bytes()[:-10])
    with pytest.raises(DamagedRunError, match=r"rounds-1-2\.parquet"):
        read_table(tmp_path, "rounds")
    with pytest.raises(DamagedRunError, match="force=true"):
        table.finish()


def test_a_full_disk_keeps_the_rows_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(tmp_path, (1, 2))
    table.add_rows([{"round": 3, "loss": 0.3}])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FedprivError, match="No space left"):
            table.flush(3, 3)
    assert os.listdir(tmp_path / "parts") == ["rounds-1-2.parquet"]
    table.flush(3, 3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(FedprivError, match="No space left"):
            table.finish()
    assert os.listdir(tmp_path) == ["parts"]
    table.finish()
    assert rounds(read_table(tmp_path, "rounds")) == [1, 2, 3]
