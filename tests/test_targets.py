import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedpriv.data import Dataset
from fedpriv.errors import ConfigError, DataError
from fedpriv.targets import build, partial_target

HERE = __name__


class Shape:
    def __init__(self, *, sides: int, size: float = 1.0, label: str | None = None) -> None:
        self.sides, self.size, self.label = sides, size, label


class Square(Shape):
    def __init__(self, *, size: float) -> None:
        super().__init__(sides=4, size=size)


class Shed:
    """Of no asked type; being made is seen."""

    made = 0

    def __init__(self, **keys: Any) -> None:
        type(self).made += 1


def triangle(size: float) -> Shape:
    return Shape(sides=3, size=size)


def unannotated(size):
    Shed.made += 1
    return Shape(sides=3)


def of_another_type(size: float) -> dict:
    Shed.made += 1
    return {}


def liar() -> Shape:
    return {}  # type: ignore[return-value]


def unlucky() -> Shape:
    raise ValueError("no luck")


def with_a_message_of_its_own() -> Shape:
    raise DataError("the file is empty: fill it")


def any_keys(**keys: Any) -> Shape:
    return Shape(sides=len(keys))


def many_kinds(
    *,
    whole: int = 1,
    number: float = 1.0,
    yes: bool = True,
    text: str = "",
    perhaps: int | None = None,
    several: float | Sequence[float] = 1.0,
    names: list[str] = [],  # noqa: B006
    file: Path | None = None,
    tensor: float | torch.Tensor = 1.0,
    rng: np.random.Generator | None = None,
    anything: Any = None,
    pair: tuple[float, float] = (1.0, 1.0),
) -> Shape:
    return Shape(sides=0)


NUMBER = 3


def make(target, expected=Shape, offered=(), **keys):
    return build({"_target_": f"{HERE}.{target}", **keys}, expected=expected, where="shape", **dict(offered))


def refusal(target, **given):
    with pytest.raises(ConfigError) as caught:
        make(target, **given)
    return str(caught.value)


def test_a_class_and_an_annotated_function_are_built():
    assert make("Square", size=2).size == 2
    assert make("triangle", size=2.5).size == 2.5


def test_what_is_offered_is_passed_where_it_is_asked_for_and_the_users_key_wins():
    assert make("triangle", offered={"size": 7.0, "colour": "red"}).size == 7.0
    assert make("triangle", offered={"size": 7.0}, size=8.0).size == 8.0
    assert make("any_keys", offered={"size": 7.0}, a=1, b=2).sides == 2


@pytest.mark.parametrize("target", ["Shed", "unannotated", "of_another_type"])
def test_another_type_is_refused_before_it_is_called(target):
    Shed.made = 0
    message = refusal(target, size=1.0)
    assert Shed.made == 0
    assert message.startswith("shape._target_: ")
    assert f"does not make a {HERE}.Shape" in message
    assert ("annotate what the function returns" in message) == (target != "Shed")


def test_a_function_of_another_library_is_refused_before_it_is_called(tmp_path):
    marker = tmp_path / "called"
    with pytest.raises(ConfigError, match=r"os\.system does not make a torch\.nn\.Module"):
        build({"_target_": "os.system", "command": f"touch {marker}"}, expected=torch.nn.Module, where="model")
    assert not marker.exists()


def test_types_are_called_by_their_public_name():
    with pytest.raises(ConfigError, match=r"does not make a torch\.optim\.Optimizer"):
        partial_target({"_target_": f"{HERE}.Shed"}, expected=torch.optim.Optimizer, where="o")
    with pytest.raises(ConfigError, match=r"does not make a fedpriv\.data\.Dataset"):
        build({"_target_": f"{HERE}.Shed"}, expected=Dataset, where="data")


def test_a_function_that_breaks_its_promise_is_caught():
    assert refusal("liar") == f"shape: {HERE}.liar returned dict, but {HERE}.Shape is asked for."


def test_a_target_that_raises_is_one_message():
    assert refusal("unlucky") == f"shape: {HERE}.unlucky failed: ValueError: no luck"


def test_a_targets_own_message_is_left_alone():
    with pytest.raises(DataError, match=r"^the file is empty: fill it$"):
        make("with_a_message_of_its_own")


@pytest.mark.parametrize("name", [None, "", 5, ["a.b"], "undotted"])
def test_a_name_must_be_dotted(name):
    with pytest.raises(ConfigError, match="must be a dotted name such as"):
        build({"_target_": name}, expected=Shape, where="shape")


def test_a_spec_without_a_target_is_refused():
    with pytest.raises(ConfigError, match=r"shape\._target_ must be a dotted name"):
        build({}, expected=Shape, where="shape")


@pytest.mark.parametrize(
    "name", ["no_such_package.Thing", f"{HERE}.nothing", f"{HERE}.NUMBER", "os.path.nothing.at.all"]
)
def test_a_name_that_is_not_there_is_refused(name):
    with pytest.raises(ConfigError, match="there is no class or function"):
        build({"_target_": name}, expected=Shape, where="shape")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(:", "SyntaxError"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("raise RuntimeError('asleep')", "RuntimeError: asleep"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(tmp_path, monkeypatch, source, told):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cannot_be_imported.py").write_text(source)
    with pytest.raises(ConfigError, match="importing cannot_be_imported failed") as caught:
        build({"_target_": "cannot_be_imported.Thing"}, expected=Shape, where="shape")
    assert told in str(caught.value)
    assert "cannot_be_imported" not in sys.modules


def test_an_unknown_argument_is_refused_with_those_that_there_are():
    assert refusal("Square", sise=1.0) == f"shape.sise: {HERE}.Square takes no such argument. It takes: size."


def test_a_missing_argument_is_named():
    assert "missing a required argument: 'size'" in refusal("Square")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("whole", [1, -1]),
        ("number", [1, 1.5, float("inf")]),
        ("yes", [True]),
        ("text", ["a", ""]),
        ("perhaps", [1, None]),
        ("several", [1, [1, 2.0], []]),
        ("names", [["a"], []]),
        ("file", ["a/b", None]),
        ("tensor", [0.1]),
        ("anything", [1, "a", [1], {"a": 1}, None]),
        ("pair", [[1.0, 2.0]]),
    ],
)
def test_values_of_the_annotated_type_pass(key, values):
    for value in values:
        make("many_kinds", **{key: value})


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("whole", 1.5, "a whole number"),
        ("whole", "many", "a whole number"),
        ("whole", True, "a whole number"),
        ("whole", None, "a whole number"),
        ("number", "a", "a number"),
        ("number", float("nan"), "a number"),
        ("number", True, "a number"),
        ("yes", 1, "true or false"),
        ("text", 5, "a text"),
        ("perhaps", "a", "a whole number or null"),
        ("several", ["a"], "a number or a list [a number, ...]"),
        ("names", [1], "a list [a text, ...]"),
        ("names", "a", "a list [a text, ...]"),
        ("tensor", "a", "a number or Tensor"),
        ("rng", 3, "Generator or null"),
    ],
)
def test_values_of_another_type_are_refused_before_the_call(key, value, wanted):
    shown = value if isinstance(value, str) else json.dumps(value)
    assert refusal("many_kinds", **{key: value}) == f"shape.{key}={shown} must be {wanted}."


def test_the_first_argument_may_come_later():
    new = partial_target(
        {"_target_": "torch.optim.SGD", "momentum": 0.9},
        expected=torch.optim.Optimizer,
        where="training.optimizer",
        positional=1,
        lr=0.5,
    )
    optimizer = new([torch.nn.Parameter(torch.zeros(1))])
    assert (optimizer.defaults["lr"], optimizer.defaults["momentum"]) == (0.5, 0.9)


def test_an_argument_that_comes_later_cannot_be_given_now():
    with pytest.raises(ConfigError, match="multiple values for argument 'params'"):
        partial_target(
            {"_target_": "torch.optim.SGD", "params": 3}, expected=torch.optim.Optimizer, where="o", positional=1
        )
