"""A digest of code that no file holds, as in a notebook: of what it does, wherever and whenever it was typed."""

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def digest(target: Any) -> str:
    """sha256 (hex) of a function's or class's bytecode, and of all that it names in its own module, transitively."""
    hashed = hashlib.sha256()
    for part in _parts(target, target.__module__, set()):
        hashed.update(f"{len(part)} {part}\n".encode())
    return hashed.hexdigest()


def _parts(thing: Any, module: str, seen: set[int]) -> Iterator[str]:
    if isinstance(thing, FunctionType | type):
        if id(thing) in seen:
            return
        seen.add(id(thing))
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    elif isinstance(thing, property):
        for accessor in (thing.fget, thing.fset):
            yield from _parts(accessor, module, seen)
    if isinstance(thing, FunctionType):
        yield from _function(thing, module, seen)
    elif inspect.isclass(thing) and thing.__module__ == module:
        yield thing.__qualname__
        for base in thing.__bases__:
            yield base.__qualname__
            yield from _parts(base, module, seen)
        for name, member in sorted(vars(thing).items()):
            if name not in ("__module__", "__dict__", "__weakref__", "__doc__", "__firstlineno__"):
                yield name
                yield from _parts(member, module, seen)
    elif isinstance(thing, _PLAIN):
        yield repr(thing)
    elif isinstance(thing, tuple | list):
        for item in thing:
            yield from _parts(item, module, seen)
    elif isinstance(thing, set | frozenset):
        yield from sorted(map(repr, thing))
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield repr(key)
            yield from _parts(value, module, seen)


def _function(function: FunctionType, module: str, seen: set[int]) -> Iterator[str]:
    if function.__module__ != module:
        return
    yield function.__qualname__
    yield from _parts([function.__defaults__, function.__kwdefaults__], module, seen)
    for cell in function.__closure__ or ():
        yield from _parts(cell.cell_contents, module, seen)
    for code in _nested(function.__code__):
        yield code.co_code.hex()
        yield repr((code.co_names, code.co_varnames, code.co_freevars))
        yield from _parts([c for c in code.co_consts if not isinstance(c, CodeType)], module, seen)
        for name in code.co_names:
            yield from _parts(function.__globals__.get(name), module, seen)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
