"""Plain local training: shuffled epochs with any torch optimizer, FedProx's proximal term on request."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fedpriv.models import ParameterLayout

from .interface import ClientResult, ClientWork, isolated
from .tasks import Task

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass(kw_only=True)
class SgdTrainer:
    """FedAvg's ClientUpdate (McMahan et al. 2017, Algorithm 1); with ``proximal_mu`` > 0 FedProx's (Li et al. 2020).

    Args:
        model: trained in place, client after client, on its own device.
        make_optimizer: a fresh optimizer over the trainable parameters, once a client and round.
        batch_size: examples of a step; the last batch of an epoch may be smaller.
        local_epochs: passes over the client's data.
        proximal_mu: weight of the proximal term mu/2 ||w - w_global||^2; 0 for none.
    """

    model: nn.Module
    layout: ParameterLayout
    task: Task
    make_optimizer: OptimizerFactory
    batch_size: int
    local_epochs: int
    proximal_mu: float
    device: torch.device

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        return isolated(self._train_client, start, work)

    def _train_client(self, start: torch.Tensor, work: ClientWork) -> ClientResult:
        self.layout.load_into(self.model, start)
        self.model.train()
        optimizer = self.make_optimizer(trainable(self.model))
        anchors = [p.detach().clone() for p in trainable(self.model)]
        x, y = (tensor.to(self.device) for tensor in work.examples())
        seen, loss_sum = 0, torch.zeros((), dtype=torch.float64)
        for _ in range(self.local_epochs):
            order = torch.from_numpy(work.batches.permutation(len(y))).to(self.device)
            for batch in order.split(self.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = self.task.loss_sum(self.model(x[batch]), y[batch])
                (loss / len(batch)).backward()
                add_proximal_gradient(self.model, anchors, mu=self.proximal_mu)
                optimizer.step()
                seen, loss_sum = seen + len(batch), loss_sum + loss.detach().cpu()
        return ClientResult(
            client_id=work.client_id,
            update=self.layout.from_module(self.model) - start,
            state=work.state,
            metrics={"loss": float(loss_sum) / max(seen, 1), "examples": float(seen)},
        )


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn."""
    return [p for p in model.parameters() if p.requires_grad]


def add_proximal_gradient(model: nn.Module, anchors: Sequence[torch.Tensor], *, mu: float) -> None:
    """Adds mu (w - w_global) to the gradients (FedProx). It depends on no data, so it may follow the noise."""
    if mu == 0:
        return
    for parameter, anchor in zip(trainable(model), anchors, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - anchor, alpha=mu)
