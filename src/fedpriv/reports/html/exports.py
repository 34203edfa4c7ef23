"""A report's tables and figures as files of their own."""

from collections.abc import Iterable
from pathlib import Path

import altair as alt

from fedpriv.errors import InputError

from .figures import Drawn
from .tables import Table

_SCALE = 2  # pixels of a PNG to one of the figure


def export_tables(tables: Iterable[Table], folder: Path) -> None:
    """Each as ``KEY.csv`` and ``KEY.md``.

    Raises:
        InputError: cannot be written.
    """
    for table in tables:
        write(folder / f"{table.key}.csv", table.csv())
        write(folder / f"{table.key}.md", table.markdown())


def export_figures(figures: Iterable[Drawn], folder: Path) -> None:
    """Each as ``KEY.png`` and ``KEY.svg``, on white paper; no browser is needed.

    Raises:
        InputError: cannot be written.
    """
    import vl_convert

    for figure in figures:
        key, spec = figure.key.removeprefix("figure_"), figure.chart.to_dict()
        version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
        paper = {"vl_version": version, "config": figure.on_white}
        write(folder / f"{key}.svg", vl_convert.vegalite_to_svg(spec, **paper))
        write(folder / f"{key}.png", vl_convert.vegalite_to_png(spec, scale=_SCALE, **paper))


def write(file: Path, content: str | bytes) -> None:
    """Write a file, and its folder where that is missing.

    Raises:
        InputError: cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise InputError(f"Cannot write {file}: {error.strerror or error}.") from error
