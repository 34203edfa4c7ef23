"""K clients at once: stacked parameters, batches side by side, gradients clipped example by example where asked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from fedpriv.models import ParameterLayout

from ..example_groups import ExampleGroups, GroupTally
from ..interface import Batches, ClientResult, ClientWork, coins_of, failed
from ..layer_clipping import clip_factors
from ..local_steps import OptimizerFactory
from ..rules import FedNovaRule, LocalRule, PlainRule
from ..tasks import AdditiveTask
from .batch import Batch, Examples, batches_of, stacks
from .model import StackedModel
from .noise import DpSgd, StackNoise
from .trial import Formulation


class VectorizedTrainer:
    """Local steps of several clients in one pass, by a model whose layers hold every client's parameters.

    Same batches, same clipping and same noise law as the engines that train client after client. The optimizer steps
    on the matrix of all clients' parameters, so it must treat every number by itself.

    | batch of a client | what happens |
    | --- | --- |
    | empty, plain | no such step |
    | empty, private | a step of noise alone |
    | an example's gradient is not finite, private | it counts as zero |

    Args:
        model: copied; its parameters that learn are those of the layout and those that a rule keeps at the clients.
        formulation: how the model is stacked.
        stack_size: most clients side by side.
        unfolded: whether convolutions are products of patches.
        channels_last: whether images lie in memory channel by channel within a pixel.
        private: None for plain steps.
        proximal_mu: weight of FedProx's term (Li et al. 2020, eq. 2); 0 for none. It depends on no data.
        rule: the client's half of the federated algorithm.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        layout: ParameterLayout,
        task: AdditiveTask,
        formulation: Formulation,
        stack_size: int,
        unfolded: bool,
        channels_last: bool,
        make_optimizer: OptimizerFactory,
        batches: Batches,
        private: DpSgd | None,
        proximal_mu: float,
        rule: LocalRule,
        device: torch.device,
    ) -> None:
        self._make_model = partial(
            StackedModel,
            model,
            clients=1,
            by_example=private is not None,
            unfolded=unfolded,
            whole=formulation.whole,
        )
        self._models: dict[tuple[str, ...], StackedModel] = {}
        parameters = dict(model.named_parameters())
        self._initial = {name: p.detach().clone() for name, p in parameters.items() if p.requires_grad}
        # kept as factors where steps do nothing but add gradients to what every client starts from
        plain = private is None and proximal_mu == 0 and type(rule) in (PlainRule, FedNovaRule)
        plain = plain and _is_plain(make_optimizer([nn.Parameter(torch.zeros(1))]))
        self._wide = formulation.wide if plain else ()
        self._narrowest = min((min(parameters[f"{name}.weight"].shape) for name in self._wide), default=0)
        self._stack_size = stack_size if formulation.side_by_side else 1
        self._channels_last = channels_last
        self._layout, self._task, self._rule, self._device = layout, task, rule, device
        self._make_optimizer, self._batches, self._private = make_optimizer, batches, private
        self._mu = proximal_mu

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        """Results come stack by stack; clients of a stack take about as many steps, of about as many examples."""
        ready = []
        for item in work:
            try:
                ready.append(self._examples(item))
            except Exception as error:
                yield failed(item, error)
        for stack in stacks(ready, most=self._stack_size):
            yield from self._isolated(start, stack)

    def _examples(self, work: ClientWork) -> Examples:
        x, y = work.examples()
        size = y.shape[0]
        plan = list(work.plan(self._batches, size))
        groups = work.groups() if self._groups is not None and work.groups is not None else None
        return Examples(work=work, x=x, y=y, size=size, plan=plan, seen=sum(map(len, plan)), groups=groups)

    @property
    def _groups(self) -> ExampleGroups | None:
        return None if self._private is None else self._private.groups

    def _isolated(self, start: torch.Tensor, clients: Sequence[Examples]) -> Iterator[ClientResult]:
        """If one of a stack raises, each trains by itself, so that only this one fails."""
        try:
            with coins_of(clients[0].work.torch_state()):
                results = self._train(start, clients)
        except Exception as error:
            if len(clients) == 1:
                yield failed(clients[0].work, error)
                return
            for client in clients:
                yield from self._isolated(start, [client])
            return
        yield from results

    def _train(self, start: torch.Tensor, clients: Sequence[Examples]) -> list[ClientResult]:
        wide = self._wide if 2 * max(client.seen for client in clients) <= self._narrowest else ()
        model, values = self._stacked(wide), self._start_values(start)
        anchor = self._anchor(model, values, clients)
        parameters, gradient = nn.Parameter(anchor.clone()), torch.empty_like(anchor)
        parameters.grad = gradient
        optimizer = self._make_optimizer([parameters])
        model.begin(parameters.detach(), values)
        corrections = self._corrections(model, clients, like=anchor)
        noise = None if self._private is None else StackNoise(clients, self._private, like=gradient)
        tally = None if self._groups is None else GroupTally(self._groups, clients=len(clients))
        planted = self._planted(clients)
        sums = torch.zeros(2, len(clients), dtype=torch.float64, device=self._device)
        final = anchor.clone()
        for step, batch in enumerate(batches_of(clients, device=self._device, channels_last=self._channels_last)):
            sums += self._gradients(model, batch, gradient, tally)
            self._plant(model, planted, into=gradient)
            if noise is not None:
                noise.add(gradient, step=step)
            if self._mu:
                gradient.add_(parameters.detach() - anchor, alpha=self._mu)
            if corrections is not None:
                gradient.add_(corrections)
            optimizer.step()
            for layer in model.wide.values():
                layer.step(lr=optimizer.param_groups[0]["lr"])
            ending = [k for k, client in enumerate(clients) if len(client.plan) == step + 1]
            if ending:  # later steps of the stack are not these clients'
                final[ending] = parameters.detach()[ending]
        if len(clients) > 1 and not model.is_intact:
            raise RuntimeError("The model keeps what one client left in it: its clients train by themselves.")
        return self._results(model, clients, final, change=final - anchor, sums=sums, tally=tally)

    def _gradients(
        self, model: StackedModel, batch: Batch, gradient: torch.Tensor, tally: GroupTally | None
    ) -> torch.Tensor:
        """Writes each client's gradient of the step, (K, D): a mean, or a sum of clipped ones.

        Returns:
            (2, K): sums of losses, and numbers of clipped examples.
        """
        if batch.size == 0:
            model.forget()
            gradient.zero_()
            return gradient.new_zeros(2, len(gradient), dtype=torch.float64)
        losses = self._task.losses(model(batch.x), batch.y).view(batch.mask.shape)
        losses = torch.where(batch.mask, losses, 0.0)
        if self._private is None:
            (losses / batch.mask.sum(dim=1, keepdim=True).clamp(min=1)).sum().backward()
            model.gradients(None, into=gradient)
            clipped = torch.zeros_like(batch.mask)
        else:
            losses.sum().backward()
            clipped = self._clipped_sums(model, batch, self._private, into=gradient)
            if tally is not None and batch.groups is not None:
                tally.add(batch.groups, seen=batch.mask, clipped=clipped)
        return torch.stack([values.detach().sum(dim=1, dtype=torch.float64) for values in (losses, clipped)])

    def _clipped_sums(
        self, model: StackedModel, batch: Batch, private: DpSgd, *, into: torch.Tensor
    ) -> torch.Tensor:
        """Writes the sums of clipped gradients, (K, D), and tells whose were clipped, bool (K, B)."""
        if not private.layer_norms:
            factors = self._clip_factors(model, batch, private)
            model.gradients(factors, into=into)
            return batch.mask & (factors < 1)
        norms = {layer: squares.sqrt() for layer, squares in model.square_norms_by_layer().items()}
        taken = batch.mask & ~_discarded(model, torch.stack(list(norms.values())).sum(dim=0))
        by_layer = {
            layer: torch.where(taken, clip_factors(norm, private.layer_norms[layer]), 0.0)
            for layer, norm in norms.items()
        }
        model.gradients(by_layer, into=into)
        return batch.mask & (torch.stack(list(by_layer.values())) < 1).any(dim=0)

    def _clip_factors(self, model: StackedModel, batch: Batch, private: DpSgd) -> torch.Tensor:
        """What each example's gradient is multiplied by, (K, B); what is not finite is dropped whole."""
        norms = model.square_norms().sqrt()
        bad = _discarded(model, norms)
        bounds: torch.Tensor | float = private.max_grad_norm
        if private.groups is not None and batch.groups is not None:
            bounds = private.groups.bounds(batch.groups, max_grad_norm=private.max_grad_norm)
        return torch.where(batch.mask & ~bad, clip_factors(norms, bounds), 0.0)

    def _planted(self, clients: Sequence[Examples]) -> dict[int, Iterator[torch.Tensor | None]]:
        """By the client's row: what an auditor adds to its sums of clipped gradients, step by step."""
        return {
            row: client.work.added(self._batches, client.size, size=self._layout.size)
            for row, client in enumerate(clients)
            if client.work.planted is not None
        }

    def _plant(
        self, model: StackedModel, planted: Mapping[int, Iterator[torch.Tensor | None]], *, into: torch.Tensor
    ) -> None:
        """Adds what an auditor adds to one step, before the noise."""
        if planted:
            named = dict(model.named(into))
            for row, steps in planted.items():
                added = next(steps, None)
                if added is not None:
                    for name, part in self._layout.unflatten(added.to(self._device)).items():
                        named[name][row] += part

    # -- before and after the steps ------------------------------------------------------------------------

    def _stacked(self, wide: tuple[str, ...]) -> StackedModel:
        if wide not in self._models:
            self._models[wide] = self._make_model(wide=wide)
        return self._models[wide]

    def _start_values(self, start: torch.Tensor) -> dict[str, torch.Tensor]:
        """Name -> parameter that a client starts from, unless it has its own."""
        shared = {name: value.to(self._device) for name, value in self._layout.unflatten(start).items()}
        return {**self._initial, **shared}

    def _anchor(
        self, model: StackedModel, values: Mapping[str, torch.Tensor], clients: Sequence[Examples]
    ) -> torch.Tensor:
        """Every client's parameters at first, (K, D)."""
        rows = torch.cat([values[name].flatten() for name in model.shapes]).repeat(len(clients), 1)
        named = dict(model.named(rows))
        for k, client in enumerate(clients):
            for name, value in self._rule.own_parameters(client.work.state).items():
                named[name][k] = value
        return rows

    def _corrections(
        self, model: StackedModel, clients: Sequence[Examples], *, like: torch.Tensor
    ) -> torch.Tensor | None:
        found = [self._rule.correction(client.work) for client in clients]
        if all(correction is None for correction in found):
            return None
        rows = torch.zeros_like(like)
        named = dict(model.named(rows))
        for k, correction in enumerate(found):
            for name, part in {} if correction is None else self._layout.unflatten(correction).items():
                named[name][k] = part
        return rows

    def _results(
        self,
        model: StackedModel,
        clients: Sequence[Examples],
        final: torch.Tensor,
        *,
        change: torch.Tensor,
        sums: torch.Tensor,
        tally: GroupTally | None,
    ) -> list[ClientResult]:
        changes = {**dict(model.named(change)), **{name: layer.update() for name, layer in model.wide.items()}}
        columns = [changes[name].reshape(len(clients), -1) for name in self._layout.names]
        updates = torch.cat(columns, dim=1).cpu().unbind()
        trained = dict(model.named(final))
        results = []
        for k, (client, update, (loss, clipped)) in enumerate(zip(clients, updates, sums.T.tolist(), strict=True)):
            steps, seen = len(client.plan), client.seen
            own = partial(_row, trained, k)
            sent, state = self._rule.finish(client.work, update=update, steps=steps, trained=own)
            metrics = {"loss": loss / seen if seen else math.nan, "examples": float(seen), "steps": float(steps)}
            if self._private is not None:
                metrics["clipped_examples"] = clipped / seen if seen else math.nan
            if tally is not None and client.groups is not None:
                metrics |= tally.metrics(k)
            results.append(ClientResult(client_id=client.work.client_id, update=sent, state=state, metrics=metrics))
        return results


def _discarded(model: StackedModel, norms: torch.Tensor) -> torch.Tensor:
    """Whose gradients are not finite, bool (K, B); they count as zero from here on."""
    bad = ~torch.isfinite(norms)
    if bool(bad.any()):
        model.discard(bad)
    return bad


def _row(named: Mapping[str, torch.Tensor], k: int) -> dict[str, torch.Tensor]:
    return {name: rows[k] for name, rows in named.items()}


def _is_plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step adds -lr times the gradient, and nothing else."""
    group = optimizer.param_groups[0]
    others = ("momentum", "weight_decay", "maximize")
    return type(optimizer) is torch.optim.SGD and not any(group[name] for name in others)
