"""Embeddings of K clients: one table of K V rows."""

from typing import Any

import torch
from torch import nn

from .layer import Stack, StackedLayer
from .products import no_less


class StackedEmbedding(StackedLayer[tuple[torch.Tensor, torch.Tensor]]):
    """``nn.Embedding`` over (K B, ...) tokens: positions of one example that look up the same token add up.

    Keeps rows of the table (K, B, T), and the gradients of what was looked up there (K, B, T, D).
    """

    method = "book-keeping"

    def __init__(self, stack: Stack, layer: nn.Embedding) -> None:
        super().__init__(stack, layer)
        self._padding = layer.padding_idx

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = _Lookup.apply(tokens, self.stack.tether, self)
        return result

    def keep(self, found: tuple[torch.Tensor, torch.Tensor]) -> None:
        rows, grads = found
        if self._padding is not None:
            clients = torch.arange(len(rows), device=rows.device)[:, None, None]
            padding = rows == clients * self.shapes["weight"][0] + self._padding % self.shapes["weight"][0]
            grads = grads.masked_fill(padding[..., None], 0.0)
        super().keep((rows, grads))

    def discard(self, bad: torch.Tensor) -> None:
        self.kept = [(rows, grads.masked_fill(bad[:, :, None, None], 0.0)) for rows, grads in self.kept]

    def square_norms(self) -> torch.Tensor:
        rows, grads = self._joined()
        same = rows[..., :, None] == rows[..., None, :]
        wide = grads.double()  # terms may cancel
        squares = ((wide @ wide.mT) * same).sum(dim=(2, 3))
        return no_less(squares, wide.norm(dim=3).sum(dim=2)).to(grads.dtype)

    def gradients(self, weights: torch.Tensor | None) -> dict[str, torch.Tensor]:
        rows, grads = self._joined()
        if weights is not None:
            grads = grads * weights[:, :, None, None]
        size, width = self.shapes["weight"]
        table = grads.new_zeros(len(rows) * size, width)
        table.index_add_(0, rows.flatten(), grads.flatten(0, 2))
        return {"weight": table.view(-1, size, width)}

    def _joined(self) -> tuple[torch.Tensor, torch.Tensor]:
        rows, grads = zip(*self.kept, strict=True)
        return torch.cat(rows, dim=2), torch.cat(grads, dim=2)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, tether: torch.Tensor, layer: StackedEmbedding) -> torch.Tensor:
        weight = layer.values["weight"]
        clients, size, width = weight.shape
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
            raise IndexError(f"A token is none of the {size} that the embedding has.")
        rows = tokens.reshape(clients, len(tokens) // clients, -1)
        ctx.layer, ctx.rows = layer, rows + size * torch.arange(clients, device=tokens.device)[:, None, None]
        return weight.reshape(-1, width)[ctx.rows].view(*tokens.shape, width)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None]:
        ctx.layer.keep((ctx.rows, grads[0].reshape(*ctx.rows.shape, -1)))
        return None, None, None
