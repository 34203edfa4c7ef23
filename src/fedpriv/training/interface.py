"""The one interface of local training: K clients from the same start, each with its own coins."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol

import numpy as np
import torch

from .planted import Planted

State = Mapping[str, torch.Tensor]


class Batches(Protocol):
    """Which examples are in which step of a client."""

    def plan(self, coins: Callable[[], np.random.Generator], num_examples: int) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True, kw_only=True)
class ClientWork:
    """What one client has to do in one round.

    Attributes:
        client_id: which client.
        examples: reads (x, y), as ``FederatedData.client`` gives them; may raise, and then only this client fails.
        state: what the algorithm keeps for this client between rounds; empty for most.
        broadcast: what the algorithm sends to every client beside the parameters; empty for most.
        noise_multiplier: of each local step at example level; NaN where local steps are not private.
        batches: makes the coins of the client's batches, from their start each time; as the next two do.
        noise: makes the generator of the client's noise, used for nothing else.
        torch_state: makes the state of torch's own generator while the model runs (dropout layers and the like); what
            an accelerator draws is keyed by it, too.
        groups: reads the examples' sensitive groups, int64 (n, attributes); None where the data names none.
        planted: an auditor's places among the examples; None: nobody audits them.
    """

    client_id: int
    examples: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    state: State
    broadcast: State
    noise_multiplier: float
    batches: Callable[[], np.random.Generator]
    noise: Callable[[], torch.Generator]
    torch_state: Callable[[], torch.Tensor]
    groups: Callable[[], torch.Tensor] | None = None
    planted: Planted | None = None

    def plan(self, batches: Batches, num_examples: int) -> Iterator[np.ndarray]:
        """Whose own gradients are in which step."""
        drawn = batches.plan(self.batches, num_examples)
        return drawn if self.planted is None else map(self.planted.heard, drawn)

    def added(self, batches: Batches, num_examples: int, *, size: int) -> Iterator[torch.Tensor | None]:
        """What an auditor adds to each step's sum of clipped gradients, float32 (size,); None for nothing."""
        if self.planted is None or not self.planted.gradients:
            return repeat(None)
        return self.planted.added(batches.plan(self.batches, num_examples), size=size)


@dataclass(frozen=True, kw_only=True)
class ClientResult:
    """What one client came back with.

    Attributes:
        update: what the client sends (trained minus start, or what its rule makes of it), shape (d,); None
            where the client failed.
        state: the client's new state.
        metrics: numbers about the training, simulator diagnostics all.
        failure: what went wrong, in words; None where nothing did.
    """

    client_id: int
    update: torch.Tensor | None
    state: State = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


class LocalTrainer(Protocol):
    """Trains clients from the same start. A client that raises yields a failure and harms no other."""

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        """One result a client, in an order that depends on ``work`` alone.

        Args:
            start: global parameters, float32 values in float64, shape (d,).
        """
        ...


def isolated(
    train_one: Callable[[torch.Tensor, ClientWork], ClientResult],
    start: torch.Tensor,
    work: Sequence[ClientWork],
) -> Iterator[ClientResult]:
    """Runs ``train_one`` client by client; one that raises is a failed client, not a failed round."""
    for item in work:
        try:
            with coins_of(item.torch_state()):
                result = train_one(start, item)
        except Exception as error:
            result = failed(item, error)
        yield result


def failed(work: ClientWork, error: Exception) -> ClientResult:
    """A client whose training has raised."""
    return ClientResult(client_id=work.client_id, update=None, failure=f"{type(error).__name__}: {error}")


@contextmanager
def coins_of(state: torch.Tensor) -> Iterator[None]:
    """Torch's own generators, those of CUDA devices in use among them, from this state; afterwards as they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(state)
        if devices:
            coins = torch.Generator()
            coins.set_state(state)
            torch.cuda.manual_seed_all(int(torch.randint(2**63 - 1, (), generator=coins)))
        yield
