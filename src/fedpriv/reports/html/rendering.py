"""From what a report says to one HTML file that loads nothing."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from fedpriv import __version__

from .theme import DARK, LIGHT

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def render(said: Mapping[str, Any], *, specs: Mapping[str, Mapping[str, Any]]) -> str:
    """The page.

    Everything in ``said`` is escaped, specs lie in a data block as JSON without ``<``, and the page's policy lets no
    script run but its own two, by their hashes.

    Args:
        said: what ``report.html.j2`` fills in.
        specs: Vega-Lite specs by the id of their place in the page.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    scripts = {"bundle": _bundle(), "script": _page("report.js")}
    return environment.from_string(_page("report.html.j2")).render(
        **said,
        **scripts,
        script_hashes=" ".join(map(_hash, scripts.values())),
        specs=specs,
        themes={"light": LIGHT, "dark": DARK},
        css=_page("report.css"),
        version=__version__,
    )


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed, of the version that Altair's specs are written for."""
    import altair as alt
    import vl_convert

    major, minor, *_ = alt.SCHEMA_VERSION.removeprefix("v").split(".")
    return vl_convert.javascript_bundle(_SNIPPET, f"{major}.{minor}").replace("</script", "<\\/script")


def _page(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"'sha256-{digest}'"
