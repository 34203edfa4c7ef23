"""Local training by a function of the user's own: what an existing Flower client already has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedpriv.models import ParameterLayout

from .interface import ClientResult, ClientWork, isolated
from .rules import LocalRule


@dataclass(kw_only=True)
class FunctionTrainer:
    """Calls ``function(model, loader)``, which trains the model in place; what it returns is ignored, or is the loss.

    Nothing is known of what it does, so it can be private at client level only, where the whole update is clipped.

    Args:
        function: takes the model and a ``DataLoader`` over (x, y), shuffled by the client's own coins.
        batch_size: of the loader.
    """

    model: nn.Module
    layout: ParameterLayout
    function: Callable[..., Any]
    batch_size: int
    rule: LocalRule
    device: torch.device

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        return isolated(self._train_client, start, work)

    def _train_client(self, start: torch.Tensor, work: ClientWork) -> ClientResult:
        self.layout.load_into(self.model, start)
        self.rule.begin(self.model, work.state)
        self.model.train()
        x, y = (tensor.to(self.device) for tensor in work.examples())
        metrics = {"examples": float(len(y))}
        if len(y):
            coins = torch.Generator().manual_seed(int(work.batches.integers(2**31)))
            loader = DataLoader(TensorDataset(x, y), batch_size=self.batch_size, shuffle=True, generator=coins)
            returned = self.function(self.model, loader)
            if isinstance(returned, int | float):
                metrics["loss"] = float(returned)
        update, state = self.rule.finish(
            self.model, work, update=self.layout.from_module(self.model) - start, steps=0
        )
        return ClientResult(client_id=work.client_id, update=update, state=state, metrics=metrics)
