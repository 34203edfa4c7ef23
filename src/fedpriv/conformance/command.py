"""``fedpriv conformance``: a table for people, or rows of JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import Any

from fedpriv.errors import ConfigError, InputError, in_one_line

from .kit import measure
from .verdict import Verdict, Verdicts

_STYLE: Mapping[Verdict, str] = {"holds": "green", "fails": "bold red", "not_applicable": "dim"}


def conformance(target: str, words: Sequence[str], *, as_json: bool) -> int:
    """Measure, print, and return the exit code: 0 if all holds, 1 if anything fails.

    Args:
        words: ``key=value`` arguments of the target.

    Raises:
        InputError: it could not be measured.
    """
    arguments = parsed(words)
    try:
        with redirect_stdout(sys.stderr):  # whatever the target prints
            verdicts = measure(target, arguments)
    except InputError:
        raise
    except Exception as error:
        raise ConfigError(f"{target} could not be measured: {in_one_line(error)}") from error
    if as_json:
        print(json.dumps([asdict(row) for row in verdicts.rows], indent=1))
    else:
        _show(verdicts)
    return 0 if verdicts.holds else 1


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """Values as JSON has them (1e-5, true, null, [1, 2]); what is none is a text.

    Raises:
        ConfigError: a word that is not ``key=value``, or a key given twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"{word} is no key=value.")
        if key in found:
            raise ConfigError(f"{key} is given twice.")
        found[key] = _value(text)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return float(text)  # .5
    except ValueError:
        return text


def _show(verdicts: Verdicts) -> None:
    import rich
    from rich.table import Table

    claim = verdicts.claim
    bounds = ", ".join(f"{bound:.4g} ({relation})" for relation, bound in claim.sensitivity.items())
    rich.print(
        f"[bold]{verdicts.target}[/bold] claims, in units of its release: one {claim.unit} moves it by at most "
        f"{bounds}; {claim.noise_law} noise of {claim.noise_std:.4g}, by the {claim.noise_by}"
    )
    table = Table("property", "verdict", "evidence")
    for row in verdicts.rows:
        table.add_row(row.property, f"[{_STYLE[row.verdict]}]{row.verdict}[/]", row.evidence)
    rich.print(table)
    total = len(verdicts.rows) - sum(row.verdict == "not_applicable" for row in verdicts.rows)
    rich.print(f"{len(verdicts.failed)} of {total} properties fail." if verdicts.failed else f"All {total} hold.")
