"""The threat model as a type: what an adversary sees is what its attack is given, and there is nothing else in it.

Who was a member is in none of these classes; it joins an attack's scores in `fedpriv.attacks.scoring`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

Sees = Literal["final_model", "global_models", "sums", "updates"]
"""Of the run: the model that it ends with; every round's global model (with the last); beside them every round's sum of
what clients sent; or what each client sent."""
Level = Literal["example", "client"]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an attack has to be given.

    Attributes:
        level: whose membership it infers: an example's in the training data, or a client's in the population.
        sees: of the run.
        shadows: models that the adversary trains itself, as the run was trained, on data of its own; 0: none.
        candidates: most that it has time for, half of them members; None: any number.
    """

    level: Level
    sees: Sees
    shadows: int
    candidates: int | None

    @property
    def watches(self) -> bool:
        """Whether somebody has to be there while the run trains."""
        return self.sees != "final_model"


class MembershipAttack(ABC):
    """Says of each candidate how likely it seems to have been a member."""

    @property
    @abstractmethod
    def needs(self) -> Needs:
        """What it has to be given."""

    @abstractmethod
    def scores(self, seen: Any) -> FloatArray:
        """A number a candidate (n,), higher for likelier members; ``seen`` is what ``needs`` asks for.

        | needs | seen |
        | --- | --- |
        | the final model | `ModelObservation` |
        | the final model and shadows | `ShadowObservation` |
        | more of the run | `FederatedObservation` |
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelObservation:
    """The final model as a black box: its loss on each candidate, whose label the adversary knows.

    Attributes:
        losses: (n,), >= 0; of classes: minus the log of what the model gives the true one.
    """

    losses: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ShadowObservation:
    """The same, of the final model and of N shadow models, whose members the adversary chose.

    Attributes:
        losses: of the final model on the candidates (n,).
        shadow_losses: of each shadow on the candidates (N, n).
        shadow_members: whether the shadow trained on the candidate (N, n).
        population_losses, shadow_population_losses: of the final model (m,) and the shadows (N, m) on other examples
            of the population; None: the adversary has none but the candidates.
    """

    losses: FloatArray
    shadow_losses: FloatArray
    shadow_members: BoolArray
    population_losses: FloatArray | None
    shadow_population_losses: FloatArray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenRound:
    """A round as a passive server sees it.

    Attributes:
        parameters: that the cohort started from (d,).
        cohort: client ids that were asked.
        total: the sum of what came back (d,), up to a public factor; None: not seen.
        updates: client id -> what came back from it (d,), up to a public factor; None: not seen.
    """

    parameters: torch.Tensor
    cohort: IntArray
    total: torch.Tensor | None
    updates: Mapping[int, torch.Tensor] | None


class CandidateModel(Protocol):
    """Candidates, as the adversary has them, under any parameters of the model."""

    def losses(self, parameters: torch.Tensor) -> FloatArray:
        """Mean loss of each candidate's examples (n,)."""
        ...

    def gradients(self, parameters: torch.Tensor) -> Iterator[torch.Tensor]:
        """Gradient of the same, candidate by candidate, each (d,)."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class FederatedObservation:
    """What went through a passive server, round by round.

    Attributes:
        rounds: in their order; read as they are asked for.
        final: parameters after the last round (d,).
        candidates: the adversary's own copies.
        holders: at example level, the client that each candidate would be with (n,); None at client level.
    """

    rounds: Sequence[SeenRound]
    final: torch.Tensor
    candidates: CandidateModel
    holders: IntArray | None
