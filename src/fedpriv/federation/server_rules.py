"""The server's half of a federated algorithm: what is broadcast, and what becomes of the mean update."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from fedpriv.errors import FedprivError
from fedpriv.training.rules.scaffold import CONTROL

ClientStates = Mapping[int, Mapping[str, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the clients that replied in a round sent beside their updates.

    Attributes:
        clients: ids, ascending.
        weights: of each in the mean (float64).
        steps: local steps of each (float64).
        before, after: client id -> its state, where it has one.
    """

    clients: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    before: ClientStates
    after: ClientStates


class ServerRule(Protocol):
    """The server's half. What it keeps between rounds is checkpointed."""

    def broadcast(self) -> Mapping[str, torch.Tensor]:
        """What every client is sent beside the parameters."""
        ...

    def combine(self, update: torch.Tensor, answers: Answers) -> torch.Tensor:
        """The update that the server optimizer shall see, from the mean one (float64, shape (d,))."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it keeps, for a checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of ``tensors``."""
        ...


@dataclass(frozen=True)
class PlainServerRule:
    """FedAvg: the mean update, as it is."""

    def broadcast(self) -> Mapping[str, torch.Tensor]:
        return {}

    def combine(self, update: torch.Tensor, answers: Answers) -> torch.Tensor:
        return update

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        pass


@dataclass(frozen=True)
class FedNovaServerRule(PlainServerRule):
    """FedNova (Wang et al. 2020, eq. 9): the mean update per step, times the mean number of steps."""

    def combine(self, update: torch.Tensor, answers: Answers) -> torch.Tensor:
        if not answers.weights.sum() > 0:
            return update
        return update * float(np.average(answers.steps, weights=answers.weights))


class ScaffoldServerRule:
    """SCAFFOLD's server (Karimireddy et al. 2020, Algorithm 1): c moves by the clients' changes over all clients.

    Args:
        size: d.
        population: N, all clients that may be trained.
    """

    def __init__(self, *, size: int, population: int) -> None:
        self._population = population
        self._control = torch.zeros(size, dtype=torch.float64)

    def broadcast(self) -> Mapping[str, torch.Tensor]:
        return {CONTROL: self._control.float()}

    def combine(self, update: torch.Tensor, answers: Answers) -> torch.Tensor:
        change = torch.zeros_like(self._control)
        for client in answers.clients.tolist():  # in their order: the same bits, whoever answered first
            if CONTROL in answers.after.get(client, {}):
                change += answers.after[client][CONTROL].double()
                if CONTROL in answers.before.get(client, {}):
                    change -= answers.before[client][CONTROL].double()
        if not bool(torch.isfinite(change).all()):
            raise FedprivError("A client's control variate is not finite: training has diverged; lower training.lr.")
        self._control = self._control + change / self._population
        return update

    def tensors(self) -> dict[str, torch.Tensor]:
        return {CONTROL: self._control}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._control = tensors[CONTROL].clone()
