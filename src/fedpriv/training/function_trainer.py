"""Local training by a function of the user's own: what an existing Flower client already has."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedpriv.models import ParameterLayout

from .interface import ClientResult, ClientWork, isolated
from .local_steps import put
from .rules import LocalRule


@dataclass(kw_only=True)
class FunctionTrainer:
    """Calls ``function(model, loader)``, which trains that model in place; what it returns is ignored, or is the loss.

    Nothing is known of what it does, so it can be private at client level only, where the whole update is clipped.

    Args:
        model: copied for every client, and itself never trained.
        function: takes the copy and a ``DataLoader`` over (x, y), shuffled by the client's own coins.
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
        # a copy for each client: whatever the function leaves in a model, the next client does not meet
        model = copy.deepcopy(self.model)
        self.layout.load_into(model, start)
        put(model, self.rule.own_parameters(work.state))
        model.train()
        x, y = (tensor.to(self.device) for tensor in work.examples())
        metrics = {"examples": float(len(y))}
        if len(y):
            coins = torch.Generator().manual_seed(int(work.batches().integers(2**31)))
            loader = DataLoader(TensorDataset(x, y), batch_size=self.batch_size, shuffle=True, generator=coins)
            returned = self.function(model, loader)
            if isinstance(returned, int | float):
                metrics["loss"] = float(returned)
            self._unchanged_layers(model)
        update, state = self.rule.finish(
            work,
            update=self.layout.from_module(model) - start,
            steps=0,
            trained=lambda: dict(model.named_parameters()),
        )
        return ClientResult(client_id=work.client_id, update=update, state=state, metrics=metrics)

    def _unchanged_layers(self, model: nn.Module) -> None:
        """The same parameters learn as before, whatever the function froze or unfroze; all must still be there."""
        trained = dict(model.named_parameters())
        for name, p in self.model.named_parameters():
            if name not in trained or trained[name].shape != p.shape:
                raise RuntimeError(
                    f"training.function has removed the model's parameter '{name}' or changed its shape; "
                    "it must train the model in place and leave its layers as they are."
                )
            trained[name].requires_grad_(p.requires_grad)
