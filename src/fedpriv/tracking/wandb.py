"""Weights & Biases: by default a folder on this machine, which ``wandb sync`` can upload."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from fedpriv.records.run_record import RunRecord
from fedpriv.tracking.callback import Callback
from fedpriv.tracking.extras import needs
from fedpriv.tracking.sharing import numbers, results, settings


@final
class WandbTracker(Callback):
    """Config, numbers by round, and what the run reached; nothing of the machine, the terminal or the code.

    Args:
        project: of Weights & Biases.
        mode: offline: no network.
        parent: the group of runs that this one belongs to, such as its sweep; None: none.
        dir: where the folder ``wandb`` lies; None: in the run's folder.
    """

    def __init__(
        self, *, project: str, mode: Literal["offline", "online"], parent: str | None, dir: Path | None
    ) -> None:
        needs("wandb", tracker="wandb")
        self._project, self._mode, self._parent = project, mode, parent
        self._dir = None if dir is None else Path(dir).expanduser()
        self._run: Any = None

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        place = folder if self._dir is None else self._dir
        place.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=self._project,
            group=self._parent,
            id=folder.name,  # a resumed run goes on under the same id
            name=f"{folder.parent.name}/{folder.name}",
            config=settings(folder),
            dir=str(place),
            mode=self._mode,
            resume="allow" if rounds_done and self._mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                host="not told",
                save_code=False,
                silent=True,
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
            ),
        )

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        self._run.log(numbers(row), step=row["round"])

    def finished(self, folder: Path, record: RunRecord) -> None:
        self._run.summary.update({"status": record.status, **results(record)})
        self._run.finish()

    def stopped(self, folder: Path, record: RunRecord) -> None:
        self._run.summary.update({"status": record.status, "error": record.error})
        self._run.finish(exit_code=1)
