"""Cosines of candidates' gradients with what was seen of a round."""

from collections.abc import Iterator, Sequence

import torch

from ..observation import SeenRound


def steps(rounds: Sequence[SeenRound], final: torch.Tensor) -> Iterator[tuple[SeenRound, torch.Tensor]]:
    """Each round with the step that the global model took in it (d,)."""
    before: SeenRound | None = None
    for seen in rounds:
        if before is not None:
            yield before, seen.parameters.double() - before.parameters.double()
        before = seen
    if before is not None:
        yield before, final.double() - before.parameters.double()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """0 where either is nothing, or not finite."""
    norms = float(torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b))
    found = float(a @ b) / norms if norms > 0 else 0.0
    return found if abs(found) <= 1.5 else 0.0
