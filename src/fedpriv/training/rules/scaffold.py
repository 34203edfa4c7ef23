"""SCAFFOLD's clients: every gradient is corrected by the difference of two control variates."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..interface import ClientWork, State
from .local_rule import Trained

CONTROL = "control"


@dataclass(frozen=True, kw_only=True)
class ScaffoldRule:
    """Local steps of SCAFFOLD (Karimireddy et al. 2020, Algorithm 1, option II), with plain SGD.

    y <- y - lr (g(y) - c_i + c);  c_i <- c_i - c + (x - y) / (K lr) after K steps.

    The server broadcasts c; the client's state is c_i, zero at first. Under example-level DP both are functions of
    noisy updates, and cost no privacy (Noble et al. 2022, section 3).

    Args:
        lr: of the local steps.
    """

    lr: float

    def own_parameters(self, state: State) -> Mapping[str, torch.Tensor]:
        return {}

    def correction(self, work: ClientWork) -> torch.Tensor | None:
        return work.broadcast[CONTROL].double() - _own(work)

    def finish(
        self, work: ClientWork, *, update: torch.Tensor, steps: int, trained: Trained
    ) -> tuple[torch.Tensor, State]:
        if steps == 0:
            return update, work.state
        control = _own(work) - work.broadcast[CONTROL].double() - update.double() / (steps * self.lr)
        return update, {CONTROL: control.float()}


def _own(work: ClientWork) -> torch.Tensor:
    if CONTROL in work.state:
        return work.state[CONTROL].double()
    return torch.zeros_like(work.broadcast[CONTROL], dtype=torch.float64)
