"""A run is a folder: where each of its files lies, and who may write there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fedpriv.errors import BusyRunError, InputError
from fedpriv.records.atomic import remove_temporaries, sync_folder, writing
from fedpriv.records.run_record import RunRecord


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, at `path`."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def run_json(self) -> Path:
        """The run's record (`RunRecord`)."""
        return self.path / "run.json"

    @property
    def guarantee_json(self) -> Path:
        """The whole statement of what the run guarantees; none while it trains."""
        return self.path / "guarantee.json"

    @property
    def guarantee_md(self) -> Path:
        """The same for a reviewer."""
        return self.path / "guarantee.md"

    @property
    def ledger(self) -> Path:
        """The hash chain of releases."""
        return self.path / "ledger.jsonl"

    @property
    def audit(self) -> Path:
        """The hash chain of decisions."""
        return self.path / "audit.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint."""
        return self.path / "checkpoint"

    @property
    def parts(self) -> Path:
        """The folder of the tables' parts while the run trains."""
        return self.path / "parts"

    @property
    def rounds(self) -> Path:
        """A row a round, when finished."""
        return self.path / "rounds.parquet"

    @property
    def clients(self) -> Path:
        """A row a client and round, when finished."""
        return self.path / "clients.parquet"

    @property
    def model(self) -> Path:
        """The final global model."""
        return self.path / "model.safetensors"

    @property
    def noise_key(self) -> Path:
        """The secret noise key, while the run needs it."""
        return self.path / "noise.key"

    @property
    def lock(self) -> Path:
        """The file whose OS lock the owner holds."""
        return self.path / ".lock"

    def create(self) -> None:
        """Make the folder, and those above it, where they are missing.

        Raises:
            InputError: the place is not writable, or a file is in the way.
            FedprivError: the disk is full or fails.
        """
        with writing(self.path):
            missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in reversed(missing):
                sync_folder(folder.parent)

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Own the folder for the block; ownership ends with the process at the latest, `kill -9` included.

        The owner begins by removing what a killed write left aside.

        Raises:
            BusyRunError: another process owns the folder.
            InputError: it is missing or not writable.
            FedprivError: the disk is full or fails.
        """
        self._must_exist()
        lock = FileLock(self.lock, timeout=0)
        with writing(self.lock):
            try:
                lock.acquire()
            except Timeout:
                raise BusyRunError(self.path) from None
        try:
            with writing(self.path):
                for folder in (self.path, self.checkpoint, self.parts):
                    remove_temporaries(folder)
            yield
        finally:
            lock.release()

    def is_busy(self) -> bool:
        """Whether another process owns the folder, now."""
        if not self.lock.exists():
            return False
        try:
            with FileLock(self.lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # whoever tries to run it is told why it cannot be written
            return False

    def read_run_json(self) -> RunRecord:
        """The run's record.

        Raises:
            InputError: there is no such folder.
            DamagedRunError: the record is missing or not what a run wrote.
        """
        self._must_exist()
        return RunRecord.load(self.run_json)

    def write_run_json(self, record: RunRecord) -> None:
        """Replace the run's record, all or nothing."""
        record.save(self.run_json)

    def _must_exist(self) -> None:
        if not self.path.is_dir():
            raise InputError(
                f"There is no run folder at {self.path}. Give the folder that holds a run's run.json, "
                "as in OUTPUT_DIR/NAME/RUN_ID."
            )
