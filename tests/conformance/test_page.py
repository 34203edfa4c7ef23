"""docs/conformance.md: its example does what it says, and its table has every property."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedpriv.conformance.properties import PROPERTIES

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def test_the_table_has_every_property():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)[: len(PROPERTIES)] == list(PROPERTIES)


@pytest.mark.slow
def test_the_example_holds_in_a_suite_of_its_own(tmp_path):
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL):
        (tmp_path / name).write_text(text)
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr
