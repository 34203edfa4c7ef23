"""How figures look on light and on dark paper: Vega-Lite configs, with colours that colour-blind people tell apart."""

from collections.abc import Iterable
from typing import Any

# Okabe & Ito (2008), shifted a little so that each stands out on its paper (contrast of 3 or more, WCAG 2.2, 1.4.11).
_SERIES_ON_LIGHT = ["#0072b2", "#c44e00", "#00805c", "#b14d8a", "#8a6a00", "#3a8fc4", "#5b5b5b", "#7a4fc0"]
_SERIES_ON_DARK = ["#56b4e9", "#f0a030", "#2fbf93", "#e58fbf", "#f0e442", "#ff8a65", "#c8c8c8", "#b39ddb"]
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_ENTRY, _LETTER = 40, 6.5  # pixels in a legend: of a symbol with its room, of a letter


def _config(*, ink: str, faint: str, series: list[str], steps: tuple[float, float]) -> dict[str, Any]:
    """Ordered series (epsilons) are steps of plasma, from the first share of it to the second; others have hues."""
    return {
        "background": "transparent",
        "font": _FONT,
        "view": {"stroke": None},
        "range": {"category": series, "ordinal": {"scheme": "plasma", "extent": list(steps)}},
        "axis": {
            "labelColor": ink,
            "titleColor": ink,
            "domainColor": faint,
            "tickColor": faint,
            "gridColor": faint,
            "gridOpacity": 0.35,
            "labelFontSize": 12,
            "titleFontSize": 12.5,
            "titleFontWeight": 500,
            "titlePadding": 10,
            "labelPadding": 5,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": 500,
            "symbolStrokeWidth": 2.5,
            "symbolOpacity": 1,
            "orient": "top",
            "labelLimit": 260,
            "columnPadding": 14,
        },
        "title": {"color": ink, "fontSize": 13.5, "fontWeight": 600, "anchor": "start", "offset": 12},
        "style": {"quiet": {"color": ink}},
    }


LIGHT = _config(ink="#33383f", faint="#c9ced6", series=_SERIES_ON_LIGHT, steps=(0.0, 0.75))
DARK = _config(ink="#cfd5de", faint="#454c58", series=_SERIES_ON_DARK, steps=(0.42, 1.0))


def on_white(names: Iterable[str], *, width: int) -> dict[str, Any]:
    """For files and notebooks, whose paper is not known; legends of these names wrap, Vega would let them run out."""
    longest = max(map(len, names), default=0)
    entry = _ENTRY + min(_LETTER * longest, LIGHT["legend"]["labelLimit"])
    legend = LIGHT["legend"] | {"columns": max(1, int(width // entry))}
    return LIGHT | {"background": "white", "legend": legend}
