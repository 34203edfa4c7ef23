import importlib
import sys

import pytest

from fedpriv.own_code import own_code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the user's own: net.py takes a number from layers.py, which nothing names in a config."""
    folder = tmp_path / "package_of_their_own"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "layers.py").write_text("SCALE = 1.0\n")
    (folder / "unused.py").write_text("")
    (folder / "net.py").write_text("from .layers import SCALE\n\n\ndef net() -> float:\n    return SCALE\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()
    return folder


SPEC = {"_target_": "package_of_their_own.net.net"}


def test_own_code_is_the_targets_module_and_what_it_imports(package):
    assert set(own_code([SPEC])) >= {"package_of_their_own.net", "package_of_their_own.layers"}
    assert "package_of_their_own.unused" not in own_code([SPEC])


@pytest.mark.parametrize("name", ["net.py", "layers.py"])
def test_a_changed_file_changes_it(package, name):
    before = own_code([SPEC])
    (package / name).write_text((package / name).read_text() + "\n# changed\n")
    assert own_code([SPEC]) != before


def test_what_a_function_imports_counts_before_it_is_imported(package):
    (package / "net.py").write_text("def net() -> float:\n    from .layers import SCALE\n\n    return SCALE\n")
    before = own_code([SPEC])
    assert "package_of_their_own.layers" in before
    assert "package_of_their_own.layers" not in sys.modules
    importlib.import_module("package_of_their_own.layers")
    assert own_code([SPEC]) == before


def test_an_installed_package_that_a_function_imports_counts_before_it_is_imported(package):
    import sklearn

    (package / "net.py").write_text("def net() -> float:\n    from sklearn.svm import SVC\n    import no_such_module\n")
    found = own_code([SPEC])
    assert found["scikit-learn"] == sklearn.__version__


def test_a_compiled_module_counts_by_its_bytes(package, monkeypatch):
    importlib.import_module("package_of_their_own.net")
    compiled = package / "layers.so"
    compiled.write_bytes(b"\x7fELF\0")
    monkeypatch.setattr(sys.modules["package_of_their_own.layers"], "__file__", str(compiled))
    before = own_code([SPEC])
    assert "package_of_their_own.layers" in before
    compiled.write_bytes(b"\x7fELF\0\0")
    assert own_code([SPEC]) != before


def test_installed_packages_count_by_version():
    import sklearn

    found = own_code([{"_target_": "sklearn.preprocessing.StandardScaler"}])
    assert found["scikit-learn"] == sklearn.__version__


def test_fedprivs_and_torchs_targets_are_nobodys_own():
    assert own_code([{"_target_": "torch.optim.SGD"}, {"_target_": "fedpriv.models.lenet"}, {}]) == {}
