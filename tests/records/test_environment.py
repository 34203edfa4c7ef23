import importlib.metadata
import json
import platform
import shutil
from pathlib import Path

import pytest
import torch

import fedpriv
from fedpriv.records import environment
from fedpriv.records.environment import (
    cpu_features,
    difference,
    environment_fingerprint,
    package_versions,
    source_revision,
)


def test_versions_are_those_installed() -> None:
    versions = package_versions()
    assert versions["torch"] == torch.__version__
    assert versions["opacus"] == importlib.metadata.version("opacus")
    assert versions["python"] == platform.python_version()
    assert versions["fedpriv"] == fedpriv.__version__


def test_a_package_that_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "mlxtend":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(environment, "version", version)
    assert "mlxtend" not in package_versions()
    assert package_versions()["torch"] == "1"


def test_the_revision_follows_the_source_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "fedpriv"
    shutil.copytree(Path(fedpriv.__file__).parent, copy)
    monkeypatch.setattr(fedpriv, "__file__", str(copy / "__init__.py"))
    revision = source_revision.__wrapped__
    original = revision()
    (copy / "notes.txt").write_text("no source")
    assert revision() == original
    (copy / "errors.py").write_text((copy / "errors.py").read_text() + "\n")
    changed = revision()
    (copy / "errors.py").rename(copy / "mistakes.py")
    assert len({original, changed, revision()}) == 3


def test_the_fingerprint_survives_json_and_is_stable() -> None:
    fingerprint = environment_fingerprint()
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert difference(fingerprint, environment_fingerprint()) == []
    assert cpu_features()["torch"] == torch.backends.cpu.get_cpu_capability()


def test_a_difference_is_told_in_words() -> None:
    then = {"packages": {"torch": "2.9.0", "gone": "1"}, "revision": "a", "cpu": {"flags": "x"}}
    now = {"packages": {"torch": "2.10.0", "new": "2"}, "revision": "a", "cpu": {"flags": "x"}}
    assert difference(then, now) == [
        "packages gone was 1, is absent",
        "packages new was absent, is 2",
        "packages torch was 2.9.0, is 2.10.0",
    ]
