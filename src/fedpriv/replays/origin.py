"""Whether a run can be made again here, and what is no longer as it was."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import fedpriv
from fedpriv.config import dump, load
from fedpriv.errors import DamagedRunError, FedprivError, InputError
from fedpriv.experiment import Experiment
from fedpriv.records.checkpoint import load_checkpoint
from fedpriv.records.environment import difference, environment_fingerprint
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.records.tables import read_table
from fedpriv.replays.decisions import starts


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A finished run, and the same experiment as it is assembled here."""

    folder: RunFolder
    record: RunRecord
    experiment: Experiment

    @staticmethod
    def of(folder: RunFolder) -> "Origin":
        """Read the run and load its data.

        Raises:
            InputError: nothing that could be made again, with the reason.
        """
        record = folder.read_run_json()
        if not record.is_done:
            mend = f"Go on with it first: fedpriv resume {folder.path}"
            raise InputError(f"{folder.path} cannot be replayed: the run is {record.status}, not finished. {mend}")
        config = load(folder.config)
        begun = starts(folder.audit)
        if not begun or begun[-1].get("config") != hashlib.sha256(folder.config.read_bytes()).hexdigest():
            raise DamagedRunError(
                f"{folder.config} is not the one that the run was started with. Restore it from a copy."
            )
        if config.seeds.noise == "secret":
            raise InputError(
                f"{folder.path} cannot be reproduced: its noise came from a secret key (seeds.noise=secret), which was "
                "deleted at completion. `fedpriv verify` still recomputes what the run guarantees."
            )
        try:
            experiment = Experiment.assemble(config)
        except FedprivError as error:
            raise InputError(
                f"{folder.path} cannot be replayed here: {error} (Paths and modules of your own are looked for from "
                "the current folder.)"
            ) from error
        origin = Origin(folder=folder, record=record, experiment=experiment)
        origin._check()
        return origin

    @cached_property
    def run_id(self) -> str:
        """What the run's id comes out as here, by the version that it was made with."""
        return self.experiment.run_id(version=self.record.packages.get("fedpriv", fedpriv.__version__))

    def _check(self) -> None:
        fingerprint = self.experiment.data.fingerprint
        if fingerprint != self._made_with.get("data", fingerprint):
            raise InputError(
                f"{self.folder.path} cannot be replayed: the data is no longer what it was (fingerprint "
                f"{self._made_with['data']}, now {fingerprint}). Restore it from a copy."
            )
        if self._other_attempts[:1] == [1]:
            raise InputError(
                f"{self.folder.path} cannot be replayed: all of it was released again after earlier releases (attempt "
                "above 0: force=true, or a resumption after a change), with fresh noise and an epsilon that pays for "
                "both. Run the experiment in another output_dir for a run that can."
            )

    # -- what is told first --------------------------------------------------------------------------------

    def changes(self) -> Iterator[str]:
        """What may make the replay come out otherwise, before it is trained."""
        found = difference(self._made_with, self._here)
        yield from found
        if self.run_id != self.record.run_id and not found:
            yield (
                f"run id {self.record.run_id} comes out as {self.run_id}: config, data, code of your own or tuning are "
                "not what they were"
            )
        if dump(self.experiment.config) != self.folder.config.read_text(encoding="utf-8"):
            yield "config.yaml is written otherwise by this version: keys came or went, and took their defaults"
        if self.experiment.device.type != "cpu":
            yield f"{self.experiment.device} does not repeat a round bit for bit"
        if rounds := self._other_attempts:
            yield (
                f"rounds {rounds[0]} to {rounds[-1]} were released again after a change while the run was stopped "
                "(attempt above 0), with fresh noise, which a replay does not draw: they will differ"
            )
        for start in starts(self.folder.audit):
            for note in start.get("notes", []):
                if note.startswith("since the checkpoint: "):
                    yield f"the run was resumed after round {start['round']} with a change: {note.partition(': ')[2]}"

    @cached_property
    def _made_with(self) -> dict[str, Any]:
        """What is known of the run's environment; without its checkpoint neither CPU nor tuning."""
        extra = self.record.extra
        known = {"data": extra.get("data", {}).get("fingerprint"), "own code": extra.get("own_code")}
        told = {name: value for name, value in known.items() if value is not None}
        return {**self._checkpointed, **told, "packages": self.record.packages, "revision": self.record.revision}

    @property
    def _here(self) -> dict[str, Any]:
        experiment = self.experiment
        here = {
            **environment_fingerprint(),
            "tuning": experiment.tuning.to_json(),
            "data": experiment.data.fingerprint,
            "own code": experiment.own_code,
            "nodes": "in this process",
        }
        return {name: value for name, value in here.items() if name in self._made_with}

    @cached_property
    def _checkpointed(self) -> Mapping[str, Any]:
        try:
            checkpoint = load_checkpoint(self.folder.checkpoint)
        except DamagedRunError:  # is told where the files are compared
            return {}
        return {} if checkpoint is None else checkpoint.state["environment"]

    @cached_property
    def _other_attempts(self) -> list[int]:
        """Rounds whose noise is not that of a first attempt."""
        try:
            table = read_table(self.folder.path, "rounds").select(["round", "attempt"]).to_pydict()
        except (FedprivError, KeyError):  # is told where the files are compared
            return []
        return [number for number, attempt in zip(*table.values(), strict=True) if attempt]
