"""Batches of several clients side by side: the shorter are padded, and a mask says which rows are examples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..interface import ClientWork

_SMALL_STACK, _MOST_PADDED = 16, 1.2


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A client with its data, and which of its examples are in which step.

    Attributes:
        size: number of examples.
        plan: their indices (int64), step by step.
        seen: examples of all steps, an example as often as it is in one.
        groups: their sensitive groups, int64 (n, attributes); None where nobody asks.
    """

    work: ClientWork
    x: torch.Tensor
    y: torch.Tensor
    size: int
    plan: Sequence[np.ndarray]
    seen: int
    groups: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step of K clients.

    Attributes:
        x: (K B, ...), client after client; what the mask leaves out is an example of the same client, so that nothing
            that is not finite reaches another's gradient.
        y: (K B, ...).
        mask: whether a row is an example of the step, (K, B).
        groups: of the rows, int64 (K, B, attributes); None where nobody asks.
    """

    x: torch.Tensor
    y: torch.Tensor
    mask: torch.Tensor
    groups: torch.Tensor | None

    @property
    def size(self) -> int:
        """B: of the client with the largest batch; 0 where all are empty."""
        return self.mask.shape[1]


def stacks(clients: Sequence[Examples], *, most: int) -> Iterator[list[Examples]]:
    """Clients that train side by side: alike in steps and sizes, so that little is padded.

    Small stacks are of clients whose arithmetic takes the time, and padding costs as much as examples do; where stacks
    may be large, it is cheaper than another stack.
    """
    stack: list[Examples] = []
    for client in sorted(clients, key=lambda client: (len(client.plan), client.size)):
        if len(stack) == most or (most <= _SMALL_STACK and _wasteful([*stack, client])):
            yield stack
            stack = []
        stack.append(client)
    if stack:
        yield stack


def _wasteful(stack: Sequence[Examples]) -> bool:
    return len(stack) * max(client.seen for client in stack) > _MOST_PADDED * sum(client.seen for client in stack)


def batches_of(clients: Sequence[Examples], *, device: torch.device, channels_last: bool) -> Iterator[Batch]:
    """One batch for each step of the clients that take most."""
    x, y = (torch.cat([getattr(c, name) for c in clients]).to(device) for name in ("x", "y"))
    known = [c.groups for c in clients if c.groups is not None]
    groups = torch.cat(known).to(device) if len(known) == len(clients) else None
    channels_last = channels_last and x.dim() == 4
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    first = np.cumsum([0, *(c.size for c in clients[:-1])])
    padding = np.minimum(first, y.shape[0] - 1)[:, None]  # clients without examples take no step
    steps = max(len(c.plan) for c in clients)
    for step in range(steps):
        drawn = [c.plan[step] if step < len(c.plan) else np.zeros(0, np.int64) for c in clients]
        sizes = np.array([len(indices) for indices in drawn])
        rows = np.repeat(padding, sizes.max(), axis=1)
        mask = np.arange(rows.shape[1]) < sizes[:, None]
        rows[mask] = np.concatenate([indices + start for indices, start in zip(drawn, first, strict=True)])
        rows, masked = rows.reshape(-1), torch.from_numpy(mask).to(device)
        chosen = torch.from_numpy(rows).to(device)
        theirs = None if groups is None else groups[chosen].view(*mask.shape, -1)
        # everything, as it lies, is not copied, unless a later step needs it: a model may write into its input
        if step == steps - 1 and np.array_equal(rows, np.arange(len(y))):
            yield Batch(x=x, y=y, mask=masked, groups=theirs)
        else:
            yield Batch(x=x[chosen], y=y[chosen], mask=masked, groups=theirs)
