"""The worked example of docs/tracking.md, as a reader would try it."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()


def test_the_example_runs_as_written(command, tmp_path):
    (module,) = re.findall(r"```python\n# my_callbacks.py\n(.*?)```", PAGE, flags=re.DOTALL)
    (choice,) = re.findall(r"```yaml\n# mine/tracking/best.yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "my_callbacks.py").write_text(module)
    (tmp_path / "mine" / "tracking").mkdir(parents=True)
    (tmp_path / "mine" / "tracking" / "best.yaml").write_text(choice)
    ran = command("run", "--config-dir=mine", "experiment=digits_smoke", "tracking=best", "workers=1")
    assert (ran.code, "Note" in ran.out) == (0, False), ran
    (told,) = tmp_path.glob("outputs/digits_smoke/*/best.txt")
    assert re.fullmatch(r"round [123]: accuracy 0\.\d{4} at epsilon [1-8]\.\d{4}\n", told.read_text())


def test_a_failing_tracker_is_one_note_in_the_terminal(command, tmp_path):
    (tmp_path / "planted.py").write_text(
        "from fedpriv.tracking import Callback\n\n\nclass Fails(Callback):\n"
        "    def round_done(self, row, failures):\n        raise OSError('no space left')\n"
    )
    ran = command("run", "experiment=digits_smoke", "+tracking.mine._target_=planted.Fails", "workers=1")
    assert ran.code == 0
    assert ran.out.count("Note:") == 1
    assert "Note: tracker mine failed, and is left out from here on: OSError: no space left" in ran.out
    assert ran.out.splitlines()[-1].startswith("Run folder: ")


def test_what_is_refused_is_bad_input(command, tmp_path):
    ran = command("run", "experiment=digits_smoke", "+tracking.mine._target_=planted.Missing")
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])
    assert "tracking.mine._target_" in ran.err
