"""Whether a client was ever trained on, from what all candidates' data together explain of a sum."""

from dataclasses import dataclass
from typing import cast, final

import numpy as np
import torch

from fedpriv.errors import ConfigError

from ..observation import FederatedObservation, FloatArray, MembershipAttack, Needs, Sees
from .cosines import steps
from .update_cosine import check_candidates


@final
@dataclass(frozen=True, kw_only=True)
class ClientRegression(MembershipAttack):
    """Mean over rounds of a client's coefficient when what was seen is regressed on all candidates' reference updates.

    The setting is that of `ClientCosine`. A sum of updates is, nearly, a linear combination of its clients' gradients:
    least squares tells apart clients whose gradients are alike, where single cosines do not. It is the usual decoder of
    a noisy linear combination, not from a paper on this. What was seen is scaled to length 1 in each round.

    Args:
        sees: the ``sums`` of a round, or the step between two ``global_models``.
        ridge: of the regression, as a share of the references' mean squared length; > 0.
        candidates: at most so many clients, half of them members: each costs a gradient over its data a round.
    """

    sees: str
    ridge: float
    candidates: int

    def __post_init__(self) -> None:
        if self.sees not in ("sums", "global_models"):
            raise ConfigError(f"attack.client_regression.sees={self.sees} is unknown; use one of sums, global_models.")
        if not self.ridge > 0:
            raise ConfigError(f"attack.client_regression.ridge={self.ridge} must be positive.")
        check_candidates("client_regression", self.candidates)

    @property
    def needs(self) -> Needs:
        return Needs(level="client", sees=cast(Sees, self.sees), shadows=0, candidates=self.candidates)

    def scores(self, seen: FederatedObservation) -> FloatArray:
        found = []
        for round_, step in steps(seen.rounds, seen.final):
            direction = step if round_.total is None else round_.total.double()
            length = float(torch.linalg.vector_norm(direction))
            if not 0 < length < float("inf"):
                continue  # nobody answered, or nothing that counts
            references = -torch.stack([g.double() for g in seen.candidates.gradients(round_.parameters)])
            products = references @ references.T
            products.diagonal().add_(self.ridge * float(products.diagonal().mean()) + _TINY)
            found.append(torch.linalg.solve(products, references @ direction / length).numpy())
        if not found:
            return np.zeros(len(list(seen.candidates.gradients(seen.final))))
        means: FloatArray = np.mean(found, axis=0)
        return means


_TINY = 1e-30
