"""The page docs/comparing.md, run from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CELLS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "comparing.md").read_text(), flags=re.DOTALL
)


@pytest.mark.slow
def test_the_cells_run_and_say_what_the_page_says(tmp_path):
    assert len(CELLS) == 4
    (tmp_path / "page.py").write_text("\n".join([*CELLS, "print(len(runs), len(runs.to_frame().columns))"]))
    ran = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^12 \d+$", ran.stdout, flags=re.MULTILINE)
    assert "over seeds of data sampling model noise" in ran.stdout
    assert len(re.findall(r"without privacy -0\.\d+", ran.stdout)) >= 1
    assert "differs" not in ran.stdout
    assert "The best of 12 runs" in ran.stdout
