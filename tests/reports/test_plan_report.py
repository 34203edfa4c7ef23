import re
from typing import Any

import pytest

from fedpriv.accounting.plan_words import plan
from fedpriv.errors import DataError
from fedpriv.reports.plan import draw_plan, show_plan, show_run_plan

WORDS = ["unit=client", "population=5000", "cohort=100", "rounds=50"]


def test_the_table_holds_epsilon_around_the_plan_and_never_less(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan([*WORDS, "noise_multiplier=1.0"])
    show_plan(found)
    out = capsys.readouterr().out
    (row,) = re.findall(r"^ +50 +(.*)$", out, flags=re.MULTILINE)[-1:]
    shown = [float(cell) for cell in row.split()]
    assert shown == sorted(shown, reverse=True)
    assert found.epsilon <= shown[2] <= found.epsilon * 1.01
    assert f"at most {found.epsilon:.4g}" in out


def test_a_deployment_is_beside_it_and_labelled(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan([*WORDS, "noise_multiplier=1.0", "deployment_population=1000000", "deployment_cohort=10000"]))
    out = " ".join(capsys.readouterr().out.split())
    assert "1,000,000" in out
    assert "extrapolated" in out
    assert "no guarantee of any run" in out


def test_notes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(plan(["unit=client", "population=5000", "cohort=100", "rounds=50", "epsilon=9", "sampling=all"]))
    assert "Note: sampling=all: whoever the 100 are" in capsys.readouterr().out


@pytest.mark.slow
def test_a_picture_that_cannot_be_written_is_said(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="Cannot write the picture"):
        draw_plan(plan([*WORDS, "epsilon=3"]), tmp_path / "no" / "folder.png")


def test_a_run_that_claims_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_run_plan({"unit": None, "epsilon": None, "rounds": 3, "notes": ["privacy=none protects nobody"]})
    out = capsys.readouterr().out
    assert "epsilon" in out
    assert "Note: privacy=none protects nobody." in out
