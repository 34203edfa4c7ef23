"""TensorBoard: scalars by round, and hyperparameters beside what they reached."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from fedpriv.records.run_record import RunRecord
from fedpriv.tracking.callback import Callback
from fedpriv.tracking.extras import needs
from fedpriv.tracking.sharing import numbers, results, settings


@final
class TensorBoardTracker(Callback):
    """Writes event files; a resumed run goes on with them.

    Args:
        dir: writes to ``dir``/name/run id; None: into the run's folder, as ``tensorboard``.
    """

    def __init__(self, *, dir: Path | None) -> None:
        needs("tensorboard", tracker="tensorboard")
        self._dir = None if dir is None else Path(dir).expanduser()
        self._writer: Any = None

    def started(self, folder: Path, *, rounds_done: int, last_round: int, notes: list[str]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        place = folder / "tensorboard" if self._dir is None else self._dir / folder.parent.name / folder.name
        # What an earlier attempt wrote of rounds still to come no longer counts.
        self._writer = SummaryWriter(str(place), purge_step=rounds_done + 1)
        self._writer.add_text("config", f"```json\n{json.dumps(settings(folder), indent=2)}\n```")

    def round_done(self, row: Mapping[str, Any], failures: Mapping[int, str]) -> None:
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row["round"])

    def finished(self, folder: Path, record: RunRecord) -> None:
        reached = {f"final/{name}": value for name, value in results(record).items()}
        self._writer.add_hparams(_hyperparameters(settings(folder)), reached, run_name=".")
        self._writer.close()

    def stopped(self, folder: Path, record: RunRecord) -> None:
        self._writer.add_text("status", f"{record.status}: {record.error or 'can be resumed'}")
        self._writer.close()


def _hyperparameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """TensorBoard takes numbers, truths and texts."""
    return {
        key: value if isinstance(value, int | float | str) else json.dumps(value, default=str)
        for key, value in values.items()
    }
