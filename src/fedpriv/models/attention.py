"""A small transformer of layers that have per-example gradients.

Initial weights come from torch's generator, as the caller seeded it.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from fedpriv.models.inputs import check_at_least_one, check_divides, check_sequence

_INITIAL_STD = 0.02  # of embeddings, as in GPT-2


def transformer(
    *,
    input_shape: Sequence[int],
    num_outputs: int,
    num_tokens: int | None,
    width: int,
    heads: int,
    layers: int,
    per_position: bool,
) -> nn.Module:
    """Transformer encoder over sequences of numbers (batch, length, channels) or of tokens (batch, length), int64.

    Learned positions, LayerNorm before attention and feed-forward layers (Vaswani et al. 2017; Xiong et al. 2020, "On
    Layer Normalization in the Transformer Architecture"). Returns (batch, num_outputs), from the mean over positions;
    with ``per_position`` (batch, length, num_outputs), where a position attends to itself and those before it.

    Args:
        num_tokens: size of the vocabulary; None for numbers.
        width: of every position's vector.
        heads: of attention; a divisor of ``width``.
        layers: blocks of attention and a feed-forward layer.
        per_position: whether there is an output for every position.

    Raises:
        ConfigError: the input is no sequence, or a key is out of its range.
    """
    length = check_sequence(input_shape, num_tokens=num_tokens, model="transformer")
    check_at_least_one(width=width, heads=heads, layers=layers)
    check_divides(heads=heads, width=width)
    return _Transformer(
        embedding=nn.Linear(input_shape[1], width) if num_tokens is None else _embedding(num_tokens, width),
        length=length,
        num_outputs=num_outputs,
        width=width,
        heads=heads,
        layers=layers,
        per_position=per_position,
    )


def _embedding(size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(size, width)
    nn.init.normal_(embedding.weight, std=_INITIAL_STD)
    return embedding


class _Transformer(nn.Module):
    def __init__(
        self,
        *,
        embedding: nn.Module,
        length: int,
        num_outputs: int,
        width: int,
        heads: int,
        layers: int,
        per_position: bool,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = _embedding(length, width)
        self.blocks = nn.Sequential(*(_Block(width=width, heads=heads, causal=per_position) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, num_outputs)
        self.per_position = per_position

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # expanded to every example, as Opacus reads an embedding's first dimension as the batch
        positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        states = self.norm(self.blocks(self.embedding(x) + self.positions(positions)))
        outputs: torch.Tensor = self.output(states if self.per_position else states.mean(dim=1))
        return outputs


class _Block(nn.Module):
    def __init__(self, *, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width=width, heads=heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        x = x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))
        return x


class _Attention(nn.Module):
    """Self-attention within each example: (batch, length, width) to the same shape."""

    def __init__(self, *, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.query_key_value(x).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        result: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result
