"""Plain local training: shuffled epochs with any torch optimizer, FedProx's proximal term on request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fedpriv.models import ParameterLayout

from .interface import ClientResult, ClientWork, isolated
from .local_steps import GradientTerms, OptimizerFactory, Pristine, put, trainable
from .rules import LocalRule
from .shuffled_batches import ShuffledBatches
from .tasks import Task


@dataclass(kw_only=True)
class SgdTrainer:
    """FedAvg's ClientUpdate (McMahan et al. 2017, Algorithm 1); with ``proximal_mu`` > 0 FedProx's (Li et al. 2020).

    Args:
        model: trained in place, client after client, on its own device.
        make_optimizer: a fresh optimizer over the trainable parameters, once a client and round.
        batches: which examples are in which step.
        proximal_mu: weight of the proximal term mu/2 ||w - w_global||^2; 0 for none.
        rule: the client's half of the federated algorithm.
    """

    model: nn.Module
    layout: ParameterLayout
    task: Task
    make_optimizer: OptimizerFactory
    batches: ShuffledBatches
    proximal_mu: float
    rule: LocalRule
    device: torch.device

    def __post_init__(self) -> None:
        self._pristine = Pristine(self.model, travelling=self.layout.names)

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        return isolated(self._train_client, start, work)

    def _train_client(self, start: torch.Tensor, work: ClientWork) -> ClientResult:
        self._pristine.restore()
        self.layout.load_into(self.model, start)
        put(self.model, self.rule.own_parameters(work.state))
        self.model.train()
        optimizer = self.make_optimizer(trainable(self.model))
        terms = GradientTerms(
            model=self.model,
            layout=self.layout,
            proximal_mu=self.proximal_mu,
            correction=self.rule.correction(work),
        )
        x, y = (tensor.to(self.device) for tensor in work.examples())
        steps, seen, loss_sum = 0, 0, torch.zeros((), dtype=torch.float64)
        for indices in work.plan(self.batches, len(y)):
            if not len(indices):  # a place of an auditor's was all of it
                continue
            batch = torch.from_numpy(indices).to(self.device)
            optimizer.zero_grad(set_to_none=True)
            loss = self.task.loss_sum(self.model(x[batch]), y[batch])
            (loss / len(batch)).backward()
            terms.add()
            optimizer.step()
            steps, seen, loss_sum = steps + 1, seen + len(batch), loss_sum + loss.detach().cpu()
        update, state = self.rule.finish(
            work,
            update=self.layout.from_module(self.model) - start,
            steps=steps,
            trained=lambda: dict(self.model.named_parameters()),
        )
        return ClientResult(
            client_id=work.client_id,
            update=update,
            state=state,
            metrics={"loss": float(loss_sum) / max(seen, 1), "examples": float(seen), "steps": float(steps)},
        )
