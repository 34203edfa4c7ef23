import os
import time

from fedpriv.sweeps.board import Board, JobState, board_in


def boards(folder):
    return sorted(path.name for path in folder.glob(".sweep-*"))


def test_a_job_whose_sweep_is_over_says_nothing_and_does_not_fail(tmp_path):
    with board_in(tmp_path) as board:
        board.tell(0, JobState(status="running"))
        assert board.read(0).status == "running"
    assert boards(tmp_path) == []
    board.tell(0, JobState(status="done"))
    with board.at_work(0):
        assert not board.is_at_work(0)
    assert board.stopped
    assert boards(tmp_path) == []


def test_what_a_killed_sweep_has_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    for name in (".sweep-dead", ".sweep-new", ".sweep-old", ".sweep-old-gone"):
        (tmp_path / name).mkdir()
    (tmp_path / ".sweep-dead" / "owner").touch()  # nobody holds it
    past = time.time() - 3600
    os.utime(tmp_path / ".sweep-old", (past, past))
    with board_in(tmp_path), board_in(tmp_path):
        assert len(boards(tmp_path)) == 3  # two that live, and one that may be about to
        assert ".sweep-new" in boards(tmp_path)


def test_who_is_at_work_is_seen_by_others(tmp_path):
    board = Board(tmp_path)
    with board.at_work(3):
        assert board.is_at_work(3)
        assert not board.is_at_work(4)
    assert not board.is_at_work(3)
