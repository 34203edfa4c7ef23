"""Which colour a setting has: a step of one scale where settings differ in epsilon alone, else a hue of its own."""

from collections.abc import Sequence

import altair as alt

from .panels import Setting


def hues(settings: Sequence[Setting], *, named: set[str]) -> alt.Color:
    """The colour channel of the field ``setting``.

    Args:
        settings: those that may be in a figure: a setting has the same colour in all of them.
        named: labels of those that are in this one, which its legend names.
    """
    labels = [setting.label for setting in settings]
    kind = "ordinal" if len({setting.series for setting in settings}) == 1 else "nominal"
    shown = [label for label in labels if label in named]
    legend = alt.Legend(symbolType="stroke", values=shown) if len(shown) > 1 else None
    return alt.Color("setting", type=kind, sort=None, scale=alt.Scale(domain=labels), title=None, legend=legend)
