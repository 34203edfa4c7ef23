"""One finished run, as its folder tells it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from fedpriv.accounting.ledger import LedgerTables, compositions
from fedpriv.accounting.release import Composition
from fedpriv.records.hashchain import read_chain
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.records.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run that ended well, whose folder holds together.

    Attributes:
        config: the resolved ``config.yaml``, nested.
        guarantee: as in ``run.json``, but recomputed from the ledger; None: nothing is claimed.
        also: guarantees of further units.
    """

    path: Path
    record: RunRecord
    config: Mapping[str, Any]
    guarantee: Mapping[str, Any] | None
    also: Sequence[Mapping[str, Any]]

    def __repr__(self) -> str:
        return f"Run({self.record.name}/{self.record.run_id}, {self.headline}={self.value}, epsilon={self.epsilon})"

    @property
    def epsilon(self) -> float | None:
        """Upper bound, recomputed from the ledger; None: nothing is claimed."""
        return None if self.guarantee is None else float(self.guarantee["epsilon"])

    @property
    def headline(self) -> str:
        """Name of the metric that the task is judged by, such as ``test_accuracy``."""
        return str(self.record.extra.get("task", {}).get("headline", "test_accuracy"))

    @property
    def value(self) -> float | None:
        """The headline metric; None: not measured, or not finite."""
        return self.record.metrics.get(self.headline)

    @property
    def baseline(self) -> float | None:
        """The headline metric of the best constant answer."""
        return self.record.metrics.get("baseline")

    @property
    def higher_is_better(self) -> bool:
        """Which way the headline metric is good."""
        return bool(self.record.extra.get("task", {}).get("higher_is_better", True))

    def released(self) -> dict[int, Composition]:
        """Participant -> what the ledger holds of it, of the unit that the guarantee speaks of.

        Raises:
            DamagedRunError: the ledger cannot be read.
        """
        mark, unit = self.record.ledger, (self.guarantee or {}).get("unit")
        lines = read_chain(RunFolder(self.path).ledger, trusted_count=mark.count, trusted_head=mark.head, exact=True)
        return compositions(entry for entry in LedgerTables().entries(lines) if entry.unit == unit)

    @cached_property
    def rounds(self) -> "pa.Table":
        """A row a round.

        Raises:
            DamagedRunError: the table cannot be read.
        """
        return read_table(self.path, "rounds")

    @property
    def clients(self) -> "pa.Table | None":
        """A row a client and round, read now; None: the run kept none.

        Raises:
            DamagedRunError: the table cannot be read.
        """
        table = read_table(self.path, "clients")
        return table if table.num_rows else None
