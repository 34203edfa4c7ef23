"""Calls what people hand in, and says what goes wrong as theirs to mend."""

import inspect
from collections.abc import Mapping
from typing import Any

from fedpriv.errors import ConfigError, FedprivError, in_one_line


def checked_call(target: Any, arguments: Mapping[str, Any], *, name: str) -> Any:
    """``target(**arguments)``, what goes wrong said as the user's to mend."""
    if not callable(target):
        raise ConfigError(f"{name} is a {type(target).__name__}: give a class, or a function that makes one.")
    try:
        signature = inspect.signature(target)
        signature.bind(**arguments)
    except ValueError:
        pass
    except TypeError as error:
        raise ConfigError(f"{name}: {error}. It takes: {_in_words(signature)}.") from error
    try:
        return target(**arguments)
    except FedprivError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} could not be made: {in_one_line(error)}") from error


def _in_words(signature: inspect.Signature) -> str:
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in signature.parameters.values()]
    return ", ".join(shown) or "no arguments"
