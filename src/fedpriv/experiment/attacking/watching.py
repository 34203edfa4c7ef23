"""A passive server's notes: what it saw of each round, as files beside the run. The run's weights do not change."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from safetensors.torch import load_file

from fedpriv.attacks import SeenRound, Sees
from fedpriv.errors import ConfigError
from fedpriv.experiment.attacking.watched import Watched
from fedpriv.federation import Observer, PassiveServer, ReadRound
from fedpriv.models import ParameterLayout
from fedpriv.records.atomic import writing
from fedpriv.records.checkpoint import save_model


class Watch:
    """Takes notes of a run's rounds in its folder; a round that is trained again is noted again.

    Args:
        watched: what to keep.
        path: the run's folder.
    """

    def __init__(self, watched: Watched, path: Path) -> None:
        self._watched = watched
        self._notes = notes_of(path)

    @property
    def each(self) -> bool:
        """Whether nodes have to return every client's update by itself."""
        return self._watched.updates

    def begin(self, *, rounds_done: int) -> None:
        """Before the first round after ``rounds_done``.

        Raises:
            ConfigError: nobody watched the earlier ones.
        """
        if rounds_done == 0:
            shutil.rmtree(self._notes, ignore_errors=True)
        with writing(self._notes):
            self._notes.mkdir(parents=True, exist_ok=True)
        if rounds_done and not (self._notes / _WATCHED).exists():
            raise ConfigError(
                f"An attack of this run watches rounds, but {rounds_done} were trained unwatched. Choose another "
                "output_dir, or leave the attack out."
            )
        (self._notes / _WATCHED).touch()

    def observer(self, layout: ParameterLayout) -> Observer:
        return PassiveServer(layout=layout, note=self._note)

    def _note(self, read: ReadRound) -> None:
        tensors = {"parameters": read.parameters.float(), "cohort": torch.from_numpy(read.cohort)}
        if self._watched.sums:
            tensors["total"] = read.total.float()
        if self._watched.updates and read.updates is not None and read.clients is not None:
            tensors |= {"clients": torch.from_numpy(read.clients), "updates": read.updates.float()}
        save_model(self._notes / f"{read.number:06d}.safetensors", tensors)


class SeenRounds(Sequence[SeenRound]):
    """What an adversary who sees so much would have of the notes; a round is read when it is asked for.

    Raises:
        ConfigError: nobody took notes, or not of what it sees.
    """

    def __init__(self, path: Path, *, attack: str, sees: Sees, last_round: int) -> None:
        files = sorted(notes_of(path).glob("*.safetensors"))
        self._files = [file for file in files if int(file.stem) <= last_round]
        self._sees = sees
        needed = {"global_models": "parameters", "sums": "total", "updates": "updates"}[sees]
        if not self._files or any(needed not in load_file(file) for file in self._files[:1]):
            raise ConfigError(
                f"attack={attack} sees {sees} of the rounds, but nobody watched the run in {path}. Run the experiment "
                f"in another output_dir with attack={attack}."
            )

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> SeenRound: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[SeenRound]: ...
    def __getitem__(self, index: int | slice) -> SeenRound | Sequence[SeenRound]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        tensors = load_file(self._files[index])
        updates = None
        if self._sees == "updates":
            updates = dict(zip(tensors["clients"].tolist(), tensors["updates"], strict=True))
        return SeenRound(
            parameters=tensors["parameters"],
            cohort=tensors["cohort"].numpy().astype(np.int64),
            total=tensors["total"] if self._sees == "sums" else None,
            updates=updates,
        )


def notes_of(path: Path) -> Path:
    return path / "attacks" / "watched"


_WATCHED = ".watched"
