"""Writes a run's folder while it trains: ledger, audit log, tables, checkpoints, ``run.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedpriv.accounting.ledger import LedgerTables, ReleaseEntry
from fedpriv.accounting.statement import markdown
from fedpriv.errors import DamagedRunError
from fedpriv.federation import DROPPED, FAILED, RoundOutcome
from fedpriv.records.atomic import strict_json, write_json_atomic, write_text_atomic, writing
from fedpriv.records.checkpoint import save_checkpoint
from fedpriv.records.hashchain import HashChain
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import ChainMark, RunRecord
from fedpriv.records.tables import TableParts


class Recorder:
    """The one writer of a run folder.

    Args:
        folder: owned by this process.
        ledger, audit: open chains.
        record: what ``run.json`` shall hold.
    """

    def __init__(
        self, *, folder: RunFolder, ledger: HashChain, audit: HashChain, record: RunRecord
    ) -> None:
        self.record = record
        self._folder, self._ledger, self._audit = folder, ledger, audit
        self._client_tables = LedgerTables()
        self._entries = list(self._client_tables.entries(ledger.entries))
        self._by_key = {entry.key: entry for entry in self._entries}
        self._flushed_round = record.rounds
        self._tables = {name: TableParts(folder=folder.path, name=name) for name in ("rounds", "clients")}

    @property
    def entries(self) -> Sequence[ReleaseEntry]:
        """The ledger, entries without release included."""
        return self._entries

    def permit(self, entry: ReleaseEntry) -> None:
        """Make the entry durable before its noise exists; one that a killed attempt wrote is used again."""
        known = self._by_key.get(entry.key)
        if known is None:
            for line in self._client_tables.lines(entry, index=self._ledger.count):
                self._ledger.append(line)
            self._entries.append(entry)
            self._by_key[entry.key] = entry
        elif known != entry:
            raise DamagedRunError(
                f"{self._folder.ledger}: round {entry.round} is not what this run would release. Run again with "
                "force=true to start anew."
            )

    def decide(self, event: str, **details: Any) -> None:
        """Add a decision to the audit log."""
        self._audit.append({"event": event, **details})

    def forget_after(self, round_number: int) -> None:
        """Remove the tables' rows of later rounds, which are to be trained again."""
        for table in self._tables.values():
            table.discard_after(round_number)

    def add_round(self, row: Mapping[str, Any], clients: Mapping[str, Any]) -> None:
        """Rows of a round that was trained; durable with the next checkpoint."""
        self._tables["rounds"].add_rows([row])
        if len(clients["client"]):
            self._tables["clients"].add_columns(clients)
        self._count_round()

    def checkpoint(
        self, round_number: int, *, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
    ) -> None:
        """Make everything up to ``round_number`` durable: tables first, then the checkpoint, then run.json."""
        for table in self._tables.values():
            table.flush(self._flushed_round + 1, round_number)
        self._flushed_round = round_number
        mark = {"head": self._ledger.head, "count": self._ledger.count}
        save_checkpoint(self._folder.checkpoint, tensors=tensors, state={**state, "ledger": mark})
        self.write(rounds=round_number)

    def finish_tables(self) -> None:
        """Merge the parts of every table."""
        for table in self._tables.values():
            table.finish()

    def write(self, **changes: Any) -> None:
        """Replace ``run.json``, with these fields changed and both chains' marks brought up to date."""
        execution = replace(self.record.execution, rounds_trained=rounds_trained(self._folder))
        ledger, audit = (ChainMark(head=chain.head, count=chain.count) for chain in (self._ledger, self._audit))
        self.record = replace(self.record, ledger=ledger, audit=audit, **{"execution": execution, **changes})
        self._folder.write_run_json(self.record)

    @property
    def has_started(self) -> bool:
        """Whether the audit log knows what this run's guarantee is stated under."""
        return any(line["event"] in ("started", "resumed") for line in self._audit.entries)

    def state(self, statement: Mapping[str, Any]) -> None:
        """Write what the run guarantees, as JSON and for a reviewer; before ``run.json`` says that it is done."""
        plain = strict_json(statement)
        write_json_atomic(self._folder.guarantee_json, plain)
        write_text_atomic(self._folder.guarantee_md, markdown(plain))

    def withdraw(self) -> None:
        """Remove an earlier statement: more is about to be released."""
        for path in (self._folder.guarantee_md, self._folder.guarantee_json):
            with writing(path):
                path.unlink(missing_ok=True)

    def _count_round(self) -> None:
        """One byte a round: survives a kill between checkpoints, costs a microsecond."""
        path = self._folder.path / _COUNTER
        with writing(path), path.open("ab", buffering=0) as file:
            file.write(b".")


_COUNTER = ".rounds_trained"


def rounds_trained(folder: RunFolder) -> int:
    """Rounds trained over all attempts, those lost to a kill included."""
    path = folder.path / _COUNTER
    return path.stat().st_size if path.exists() else 0


def client_columns(outcome: RoundOutcome) -> dict[str, Any]:
    """Columns of the clients table for one round; everything measured on a client is a diagnostic."""
    return {
        "round": outcome.round,
        "client": outcome.cohort,
        "status": outcome.status,
        **{f"diagnostic_{name}": values for name, values in sorted(outcome.metrics.items())},
    }


def round_row(
    outcome: RoundOutcome,
    *,
    tested: Mapping[str, float],
    epsilons: Mapping[str, float | None],
    attempt: int,
    seconds: float,
    seconds_testing: float,
) -> dict[str, Any]:
    """A row of the rounds table.

    Args:
        tested: global test metrics, where this round was tested.
        epsilons: by column, upper bounds on what has been spent; None where nothing is claimed.
        seconds: of the whole round, ``seconds_testing`` of them for the global test.
    """
    return {
        "round": outcome.round,
        "cohort": len(outcome.cohort),
        "replied": outcome.replied,
        "dropped": int((outcome.status == DROPPED).sum()),
        "failed": int((outcome.status == FAILED).sum()),
        "aborted": outcome.aborted,
        "diagnostic_train_loss": _mean_loss(outcome.metrics),
        "diagnostic_clipped": _mean(outcome.metrics.get("clipped")),
        "diagnostic_clipped_examples": _mean(outcome.metrics.get("clipped_examples")),
        **epsilons,
        **tested,
        "attempt": attempt,
        "seconds": seconds,
        "seconds_testing": seconds_testing,
    }


def _mean(values: np.ndarray | None) -> float | None:
    if values is None or np.all(np.isnan(values)):
        return None
    return float(np.nanmean(values))


def _mean_loss(metrics: Mapping[str, np.ndarray]) -> float | None:
    """Mean loss over the examples that the cohort trained on."""
    if "loss" not in metrics:
        return None
    loss, weight = metrics["loss"], metrics["examples"]
    known = np.isfinite(loss) & (weight > 0)
    return float(np.average(loss[known], weights=weight[known])) if known.any() else None
