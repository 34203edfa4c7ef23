"""What a federated dataset looks like: a table for the terminal, and a picture of the partition."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpriv.data.dataset import IntArray
from fedpriv.data.federated import FederatedData
from fedpriv.data.strata import strata

if TYPE_CHECKING:
    from rich.console import RenderableType

_TABLE_CLIENTS = 20
_TABLE_CLASSES = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Description:
    """Counts and shapes of a federated dataset; print it with ``rich``.

    ``label_mix`` holds examples per label (see ``strata``), int64, (clients, labels), of the first 20 clients.
    ``num_users`` is None where the data has no user ids. ``size_*`` are training examples per client.
    """

    num_clients: int
    num_held_out_clients: int
    num_train: int
    num_unused: int
    num_test: int
    size_min: int
    size_median: float
    size_max: int
    num_holdout: int
    targets: str
    labels: tuple[str, ...]
    public: bool
    num_users: int | None
    input_shape: tuple[int, ...]
    dtype: str
    label_mix: IntArray

    def __rich__(self) -> "RenderableType":
        from rich.console import Group

        return Group(self._summary(), "", self._mix())

    def _summary(self) -> "RenderableType":
        from rich.table import Table

        held_out = f" ({self.num_held_out_clients:,} never trained)" if self.num_held_out_clients else ""
        holdout = f" (and {self.num_holdout:,} that clients keep back)" if self.num_holdout else ""
        unused = f" ({self.num_unused:,} unused)" if self.num_unused else ""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        sizes = f"{self.size_min:,} min, {self.size_median:,g} median, {self.size_max:,} max"
        for row in (
            ("clients", f"{self.num_clients:,}{held_out}"),
            ("examples per client", sizes),
            ("training examples", f"{self.num_train:,}{holdout}{unused}"),
            ("test examples", f"{self.num_test:,}"),
            ("input", f"{' x '.join(map(str, self.input_shape))}, {self.dtype}"),
            ("labels", f"{self.targets}, {len(self.labels):,} kinds"),
            ("users", "unknown" if self.num_users is None else f"{self.num_users:,}"),
            ("public", "yes: nothing protects these examples" if self.public else "no"),
        ):
            table.add_row(*row)
        return table

    def _mix(self) -> "RenderableType":
        from rich.table import Table

        shown = min(len(self.labels), _TABLE_CLASSES)
        table = Table(title="Examples per label", title_justify="left", header_style="bold")
        table.add_column("client", justify="right")
        table.add_column("total", justify="right")
        for label in self.labels[:shown]:
            table.add_column(label, justify="right")
        if shown < len(self.labels):
            table.add_column("others", justify="right")
        for client, counts in enumerate(self.label_mix):
            others = [int(counts[shown:].sum())] if shown < len(self.labels) else []
            cells = [*counts[:shown].tolist(), *others]
            table.add_row(str(client), f"{counts.sum():,}", *(f"{n:,}" if n else "·" for n in cells))
        if len(self.label_mix) < self.num_clients:
            table.caption = f"{self.num_clients - len(self.label_mix):,} more clients"
        return table


def describe(data: FederatedData) -> Description:
    """Count what there is; cheap for a million clients."""
    sizes = data.client_sizes
    shown = min(_TABLE_CLIENTS, data.num_clients)
    in_holdout = 0 if data.holdout is None else len(data.holdout.indices)
    return Description(
        num_clients=data.num_clients,
        num_held_out_clients=len(data.held_out_clients),
        num_train=len(data.indices),
        num_unused=len(data.train) - len(data.indices) - in_holdout,
        num_test=len(data.test),
        size_min=int(sizes.min()),
        size_median=float(np.median(sizes)),
        size_max=int(sizes.max()),
        num_holdout=in_holdout,
        targets=data.targets,
        labels=strata(data.train.y, num_classes=data.num_classes).names,
        public=data.public,
        num_users=None if data.users is None else len(np.unique(data.users)),
        input_shape=data.input_shape,
        dtype=str(data.train.x.dtype),
        label_mix=label_counts(data, np.arange(shown)),
    )


def label_counts(data: FederatedData, clients: IntArray) -> IntArray:
    """Examples per client and label (see ``strata``), int64, (clients, labels)."""
    labels = strata(data.train.y, num_classes=data.num_classes)
    return np.stack([np.bincount(labels.of[data.clients[int(k)]], minlength=len(labels.names)) for k in clients])


def draw_partition(data: FederatedData, path: Path) -> None:
    """Draw who holds what to a PNG; see ``fedpriv.data.picture``."""
    from fedpriv.data.picture import draw

    draw(data, path)
