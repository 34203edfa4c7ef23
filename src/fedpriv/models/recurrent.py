"""LSTM of Linear layers, so that per-example gradients exist, as fast as torch's own where none are asked for.

Initial weights come from torch's generator, as the caller seeded it.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from fedpriv.models.inputs import check_at_least_one, check_sequence


def lstm(
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    num_tokens: int | None,
    embedding: int,
    hidden: int,
    layers: int,
    per_position: bool,
) -> nn.Module:
    """LSTM over sequences of numbers (batch, length, channels) or of tokens (batch, length), int64.

    Returns (batch, num_outputs), from the mean of the states over positions; with ``per_position`` (batch, length,
    num_outputs), where an output has seen its own position and those before it.
    Source: Hochreiter and Schmidhuber 1997, with forget gates; for characters as in Caldas et al. 2018, "LEAF: A
    Benchmark for Federated Settings" (Shakespeare).

    Args:
        num_tokens: size of the vocabulary; None for numbers.
        embedding: width of a token's vector; unused for numbers.
        hidden: width of the state.
        layers: LSTMs on top of each other.
        per_position: whether there is an output for every position.

    Raises:
        ConfigError: the input is no sequence, or a key is below 1.
    """
    check_sequence(input_shape, num_tokens=num_tokens, model="lstm")
    check_at_least_one(embedding=embedding, hidden=hidden, layers=layers)
    return _Lstm(
        channels=input_shape[1] if num_tokens is None else embedding,
        num_outputs=num_outputs,
        num_tokens=num_tokens,
        hidden=hidden,
        layers=layers,
        per_position=per_position,
    )


class _Lstm(nn.Module):
    def __init__(
        self, *, channels: int, num_outputs: int, num_tokens: int | None, hidden: int, layers: int, per_position: bool
    ) -> None:
        super().__init__()
        self.embedding = nn.Identity() if num_tokens is None else nn.Embedding(num_tokens, channels)
        widths = [channels, *[hidden] * layers]
        self.layers = nn.Sequential(*(LstmLayer(channels=before, hidden=after) for before, after in pairwise(widths)))
        self.output = nn.Linear(hidden, num_outputs)
        self.per_position = per_position

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states = self.layers(self.embedding(x))
        outputs: torch.Tensor = self.output(states if self.per_position else states.mean(dim=1))
        return outputs


class LstmLayer(nn.Module):
    """One LSTM: (batch, length, channels) to its states (batch, length, hidden), from a state of zeros.

    Two Linear layers hold all weights: ``ih`` (from the input) and ``hh`` (from the state before), both to the gates
    in torch's order. Who looks for per-example gradients, by a hook or in their place, must see them called; called
    once per position, each call would cost gradients of (batch, 4 hidden, hidden). So the states are computed first,
    without gradient, and ``hh`` is called once on all of them. What the states' own dependence on the weights adds to
    the gradient flows through a difference that is zero in value.
    """

    def __init__(self, *, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.ih = nn.Linear(channels, 4 * hidden)
        self.hh = nn.Linear(hidden, 4 * hidden, bias=False)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)
        with torch.no_grad():
            # remember at first (Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures")
            self.ih.bias[hidden : 2 * hidden] += 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = type(self.hh) is not nn.Linear or any(module._forward_hooks for module in self.modules())
        if not (torch.is_grad_enabled() and seen):
            return self._states(x)
        with torch.no_grad():
            before = functional.pad(self._states(x)[:, :-1], (0, 0, 1, 0))
        gates = self.ih(x) + self.hh(before)
        weight = self.hh.weight.detach()
        state = cell = x.new_zeros(x.shape[0], self.hidden)
        states = []
        for gate, value in zip(gates.unbind(1), before.unbind(1), strict=True):
            write, keep, new, show = (gate + functional.linear(state - value, weight)).chunk(4, dim=1)
            cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
            state = show.sigmoid() * cell.tanh()
            states.append(state)
        return torch.stack(states, dim=1)

    def _states(self, x: torch.Tensor) -> torch.Tensor:
        """By torch's fused LSTM."""
        start = x.new_zeros(1, x.shape[0], self.hidden)
        weights = (self.ih.weight, self.hh.weight, self.ih.bias, torch.zeros_like(self.ih.bias))
        states: torch.Tensor = torch.lstm(x, (start, start), weights, True, 1, 0.0, self.training, False, True)[0]
        return states
