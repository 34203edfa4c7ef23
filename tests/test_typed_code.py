"""Code that no file holds: recognised again when typed again, told apart when it does something else."""

import sys
import types

import pytest

import fedpriv
from fedpriv.typed_code import digest

NET = """
import math
from torch import nn

WIDTH = 8

def scale(x):
    return WIDTH * x

class Net(nn.Linear):
    bias_too = True
    def __init__(self, *, input_shape, num_outputs: int, factor: float = 2.0) -> None:
        super().__init__(math.prod(input_shape), num_outputs)
        self.factor = factor
    def forward(self, x):
        return super().forward(scale(x.flatten(1))) if "a" in {"a", "b", "c"} else x
"""


def typed(source, name="Net"):
    module = types.ModuleType("notebook")
    exec(compile(source, "<cell>", "exec"), vars(module))
    return vars(module)[name]


def test_the_same_code_typed_again_is_the_same():
    assert digest(typed(NET)) == digest(typed("\n\n" + NET))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("return WIDTH * x", "return WIDTH + x"),
        ("WIDTH = 8", "WIDTH = 9"),
        ("factor: float = 2.0", "factor: float = 3.0"),
        ("bias_too = True", "bias_too = False"),
        ("nn.Linear)", "nn.Bilinear)"),
        ("math.prod", "math.fsum"),
        ('"b"', '"d"'),
    ],
)
def test_a_change_anywhere_below_it_shows(before, after):
    assert before in NET
    assert digest(typed(NET)) != digest(typed(NET.replace(before, after)))


def test_what_it_does_not_use_does_not_count():
    assert digest(typed(NET)) == digest(typed(NET + "\ndef other():\n    return 3\n"))


@pytest.mark.slow
def test_the_digest_does_not_depend_on_the_process():
    import subprocess

    code = f"""
import types
from fedpriv.typed_code import digest
m = types.ModuleType("notebook")
exec({NET!r}, vars(m))
print(digest(m.Net))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert found == {digest(typed(NET)) + "\n"}


def test_an_edited_notebook_class_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = []
    for source in (NET, NET, NET.replace("WIDTH * x", "WIDTH + x")):
        module = types.ModuleType("notebook_module")
        exec(compile(source, "<cell>", "exec"), vars(module))
        monkeypatch.setitem(sys.modules, "notebook_module", module)
        overrides = ("experiment=digits_smoke", "rounds=1", "evaluation.clients=false", "privacy=none")
        ids.append(fedpriv.run(*overrides, model=vars(module)["Net"]).run_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.slow
def test_a_page_from_standard_input_runs(tmp_path):
    import subprocess

    page = NET + (
        "\nimport fedpriv\n"
        'fedpriv.run("experiment=digits_smoke", "rounds=1", "privacy=none", "evaluation.clients=false", model=Net)\n'
    )
    ran = subprocess.run([sys.executable, "-"], input=page, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "Test accuracy" in ran.stdout
