"""The picture of a partition. Up to 60 clients: a stacked bar each. More: sizes, and label mix."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from fedpriv.data.dataset import IntArray
from fedpriv.data.describe import label_counts
from fedpriv.data.federated import FederatedData
from fedpriv.data.strata import strata
from fedpriv.errors import DataError

_MAX_BARS = 60
_MAX_COLUMNS = 400  # clients in the heat map: evenly chosen among more
_INK, _MUTED, _BAR = "#222222", "#666666", "#4c72b0"
_STYLE = {
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}


def draw(data: FederatedData, path: Path) -> None:
    """Write the PNG; the same data gives the same picture.

    Raises:
        DataError: the file can't be written.
    """
    figure = Figure(figsize=(10, 5.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(_STYLE):
        if data.num_clients <= _MAX_BARS:
            _draw_bars(figure, data)
        else:
            _draw_sizes_and_mix(figure, data)
        try:
            figure.savefig(path, format="png")
        except OSError as error:
            raise DataError(f"Cannot write the picture {path}: {error.strerror or error}.") from error


def _draw_bars(figure: Figure, data: FederatedData) -> None:
    counts = label_counts(data, np.arange(data.num_clients))
    axes = figure.add_subplot()
    bottom = np.zeros(data.num_clients)
    labels = strata(data.train.y, num_classes=data.num_classes).names
    for label, colour in enumerate(_label_colours(len(labels))):
        axes.bar(
            np.arange(data.num_clients), counts[:, label], bottom=bottom, width=0.82, color=colour,
            edgecolor="white", linewidth=0.4, label=labels[label],
        )  # fmt: skip
        bottom += counts[:, label]
    axes.set(xlabel="client", ylabel="training examples", xlim=(-0.6, data.num_clients - 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=30, min_n_ticks=1))
    _count_axis(axes)
    axes.set_title(_headline(data), loc="left", color=_INK)
    if len(labels) <= 20:
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], names[::-1], title="label", loc="outside right center", frameon=False)


def _draw_sizes_and_mix(figure: Figure, data: FederatedData) -> None:
    figure.suptitle(_headline(data), x=0.01, ha="left", color=_INK, fontsize=12)
    sizes_axes, mix_axes = figure.subplots(1, 2, width_ratios=(1, 1.7))

    sizes = data.client_sizes
    width = max(1, -(-(int(sizes.max()) - int(sizes.min()) + 1) // 40))
    edges = np.arange(sizes.min(), sizes.max() + width + 1, width) - 0.5
    sizes_axes.hist(sizes, bins=edges, color=_BAR, edgecolor="white", linewidth=0.4)
    median = float(np.median(sizes))
    leftward = median > (int(sizes.min()) + int(sizes.max())) / 2
    sizes_axes.axvline(median, color=_INK, linestyle="--", linewidth=1)
    sizes_axes.annotate(
        f"median {median:,g}", (median, 1.0), xycoords=("data", "axes fraction"), textcoords="offset points",
        xytext=(-4 if leftward else 4, -10), ha="right" if leftward else "left", color=_INK, fontsize=9,
    )  # fmt: skip
    sizes_axes.set(xlabel="training examples per client", ylabel="clients")
    sizes_axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
    sizes_axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _count_axis(sizes_axes)

    counts, shown = _clients_by_mix(data)
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = mix_axes.imshow(
        share.T, aspect="auto", origin="lower", cmap="Blues", vmin=0, vmax=1, interpolation="nearest"
    )
    some = "" if shown == data.num_clients else f" ({shown} of them)"
    mix_axes.set(xlabel=f"clients, ordered by their most frequent label{some}", ylabel="label", xticks=[])
    mix_axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    mix_axes.spines[["top", "right"]].set_visible(True)
    mix_axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=mix_axes, format=StrMethodFormatter("{x:.0%}"), pad=0.02)
    bar.set_label("share of the client's examples")
    bar.outline.set_visible(False)


def _clients_by_mix(data: FederatedData) -> tuple[IntArray, int]:
    """Label counts of at most 400 non-empty clients, ordered by top label and its share; and how many."""
    filled = np.flatnonzero(data.client_sizes)
    chosen = filled[np.linspace(0, len(filled) - 1, min(_MAX_COLUMNS, len(filled))).astype(np.int64)]
    counts = label_counts(data, chosen)
    top = counts.argmax(axis=1)
    order = np.lexsort((-counts.max(axis=1) / counts.sum(axis=1), top))
    return counts[order], len(chosen)


def _headline(data: FederatedData) -> str:
    return f"{len(data.indices):,} training examples on {data.num_clients:,} clients"


def _count_axis(axes: Any) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)


def _label_colours(count: int) -> list[Any]:
    if count <= 10:
        return [matplotlib.colormaps["tab10"](i) for i in range(count)]
    if count <= 20:
        return [matplotlib.colormaps["tab20"](i) for i in range(count)]
    return [matplotlib.colormaps["turbo"](x) for x in np.linspace(0.03, 0.97, count)]
