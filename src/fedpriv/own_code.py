"""The user's own code behind a config: what a run's result depends on beside fedpriv and torch."""

import ast
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from fedpriv.targets import TARGET, resolve
from fedpriv.typed_code import digest

_KNOWN = ("fedpriv", "flwr", "torch")
_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def own_code(specs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What the targets that are neither fedpriv's, Flower's nor torch's come from.

    Modules of the user's own, and those of their own that they import: name -> sha256 of the file; what was typed in a
    notebook: name -> digest of its bytecode. Installed packages: name -> version. Empty where no target is anyone
    else's. Files that a target reads are not seen.
    """
    found: dict[str, str] = {}
    for spec in specs:
        top = str(spec.get(TARGET, "fedpriv")).split(".")[0]
        module = None if top in _KNOWN else _module(spec)
        if module is not None:
            _add(module, found)
            if not _is_written_down(module):
                found[str(spec[TARGET])] = digest(resolve(spec, TARGET))
                for other in _used_by(module):
                    _add(other, found)
    return dict(sorted(found.items()))


def _module(spec: Mapping[str, Any]) -> ModuleType | None:
    """Where a target is written down; an object, such as a ClientApp, where it is named."""
    target = resolve(spec, TARGET)
    if inspect.isclass(target) or inspect.isroutine(target):
        return inspect.getmodule(target)
    parts = str(spec[TARGET]).split(".")
    names = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    return next((sys.modules[name] for name in names if name in sys.modules), None)


def _add(module: ModuleType, found: dict[str, str]) -> None:
    if _is_written_down(module):
        _add_file(module.__name__, str(module.__file__), module.__package__ or "", found)


def _add_file(name: str, file: str, package: str, found: dict[str, str]) -> None:
    if name in found or name.split(".")[0] in _KNOWN:
        return
    if _is_installed(file):
        found |= {name: version(name) for name in _distributions().get(name.split(".")[0], [])}
        return
    source = Path(file).read_bytes()
    found[name] = hashlib.sha256(source).hexdigest()
    if not file.endswith(".py"):
        return  # compiled: what it imports is not written in it
    for imported in _imports(source, package=package):
        place = _file_of(imported)
        if place is not None:
            inside = imported if Path(place).stem == "__init__" else imported.rpartition(".")[0]
            _add_file(imported, place, inside, found)


def _file_of(name: str) -> str | None:
    """Where a module is written down, whether or not anything has imported it yet; nothing is imported for it."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) if _is_written_down(sys.modules[name]) else None
    parts, spec = name.split("."), None
    for end in range(1, len(parts) + 1):
        inside = None if spec is None else spec.submodule_search_locations
        if end > 1 and inside is None:
            return None
        spec = _found(".".join(parts[:end]), inside)
        if spec is None:
            return None
    return spec.origin if spec is not None and spec.has_location else None


def _found(name: str, inside: Sequence[str] | None) -> ModuleSpec | None:
    if inside is not None:
        return PathFinder.find_spec(name, inside)
    try:
        return find_spec(name)
    except (ImportError, ValueError):  # an empty name, or a loaded module that says nothing of itself
        return None


def _is_installed(file: str) -> bool:
    return any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)


def _is_written_down(module: ModuleType) -> bool:
    return Path(getattr(module, "__file__", None) or "").is_file()  # a script from standard input has no file, either


def _used_by(notebook: ModuleType) -> Iterator[ModuleType]:
    """Modules of the user's own that a notebook has imported, or taken something from."""
    for value in list(vars(notebook).values()):
        module = value if isinstance(value, ModuleType) else sys.modules.get(str(getattr(value, "__module__", "")))
        file = getattr(module, "__file__", None)
        if module is not None and module is not notebook and file is not None and not _is_installed(file):
            yield module


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Top-level module -> installed packages; a scan of all of them, so made once."""
    return packages_distributions()


def _imports(source: bytes, *, package: str) -> Iterator[str]:
    """Dotted names that a source file may import as modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
