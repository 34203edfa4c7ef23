"""Example-level DP-SGD by Opacus: the reference engine, and what a real node runs."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence

import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy.batches import PoissonBatches

from .example_groups import ExampleGroups, GroupTally
from .interface import ClientResult, ClientWork, isolated
from .layer_clipping import clip_by_layer, clip_factors
from .local_steps import GradientTerms, OptimizerFactory, Pristine, put, trainable
from .rules import LocalRule
from .tasks import Task

# Opacus' hooks see no input that requires gradients at the first layer, which is as it should be.
warnings.filterwarnings("ignore", message="Full backward hook is firing")


class OpacusTrainer:
    """DP-SGD (Abadi et al. 2016, Algorithm 1) with Poisson batches, one client after another.

    The noisy sum is divided by the expected batch, never by the drawn one. Model and hooks are built once;
    parameters, data and coins are swapped in.

    | batch | what happens |
    | --- | --- |
    | empty | a step of noise alone |
    | an example's gradient is not finite | it counts as zero |

    Args:
        model: a module that Opacus' validator accepts.
        batches: draws the batches, and is what the accountant was told.
        max_grad_norm: L2 bound of one example's gradient.
        layer_norms: layer -> L2 bound of its part, together at most ``max_grad_norm``; none: clipped as a whole.
        proximal_mu: FedProx's mu; its term joins after the noise and costs no privacy.
        rule: the client's half of the federated algorithm; its correction joins after the noise, too.
        groups: of examples, where the data names any; norms of theirs only lower the bound.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        layout: ParameterLayout,
        task: Task,
        make_optimizer: OptimizerFactory,
        batches: PoissonBatches,
        max_grad_norm: float,
        layer_norms: Mapping[str, float],
        proximal_mu: float,
        rule: LocalRule,
        device: torch.device,
        groups: ExampleGroups | None = None,
    ) -> None:
        self._model = model
        self._groups = groups
        self._grad_sampler = GradSampleModule(model, loss_reduction="sum")
        self._pristine = Pristine(model, travelling=layout.names)
        self._layout = layout
        self._task = task
        self._make_optimizer = make_optimizer
        self._batches = batches
        self._max_grad_norm = max_grad_norm
        self._layer_norms = layer_norms
        self._proximal_mu = proximal_mu
        self._rule = rule
        self._device = device

    def train(self, start: torch.Tensor, work: Sequence[ClientWork]) -> Iterator[ClientResult]:
        return isolated(self._train_client, start, work)

    def _train_client(self, start: torch.Tensor, work: ClientWork) -> ClientResult:
        x, y = (tensor.to(self._device) for tensor in work.examples())
        self._pristine.restore()
        self._layout.load_into(self._model, start)
        put(self._model, self._rule.own_parameters(work.state))
        self._model.train()
        self._forget_broken_passes()
        optimizer = DPOptimizer(
            self._make_optimizer(trainable(self._model)),
            noise_multiplier=work.noise_multiplier,
            max_grad_norm=self._max_grad_norm,
            expected_batch_size=self._batches.expected_size(len(y)),  # type: ignore[arg-type]  # Opacus only divides by it
            loss_reduction="mean",
            generator=work.noise(),
        )
        terms = GradientTerms(
            model=self._model,
            layout=self._layout,
            proximal_mu=self._proximal_mu,
            correction=self._rule.correction(work),
        )
        groups = work.groups().to(self._device) if self._groups is not None and work.groups is not None else None
        tally = None if self._groups is None or groups is None else GroupTally(self._groups, clients=1)
        seen, loss_sum, clipped, steps = 0, 0.0, 0, 0
        planted = work.added(self._batches, len(y), size=self._layout.size)
        for indices, added in zip(work.plan(self._batches, len(y)), planted, strict=False):  # unaudited, it is endless
            batch = torch.from_numpy(indices).to(self._device)
            optimizer.zero_grad(set_to_none=True)
            if len(batch):
                loss = self._task.loss_sum(self._grad_sampler(x[batch]), y[batch])
                loss.backward()
                seen, loss_sum = seen + len(batch), loss_sum + float(loss.detach())
            theirs = None if groups is None else groups[batch]
            marked = self._clip(optimizer, batch_size=len(batch), groups=theirs)
            clipped += int(marked.sum())
            if tally is not None and theirs is not None:
                tally.add(theirs[None], seen=torch.ones_like(marked)[None], clipped=marked[None])
            if added is not None:
                self._plant(optimizer, added)
            optimizer.add_noise()
            optimizer.scale_grad()
            terms.add()
            optimizer.original_optimizer.step()
            steps += 1
        optimizer.zero_grad(set_to_none=True)
        update, state = self._rule.finish(
            work,
            update=self._layout.from_module(self._model) - start,
            steps=steps,
            trained=lambda: dict(self._model.named_parameters()),
        )
        metrics = {
            "loss": loss_sum / seen if seen else math.nan,
            "examples": float(seen),
            "steps": float(steps),
            "clipped_examples": clipped / seen if seen else math.nan,
        }
        metrics |= {} if tally is None else tally.metrics(0)
        return ClientResult(client_id=work.client_id, update=update, state=state, metrics=metrics)

    def _forget_broken_passes(self) -> None:
        """A client that raised between forward and backward would leave its activations to the next one."""
        for module in self._model.modules():
            for leftover in ("activations", "max_batch_len"):
                module.__dict__.pop(leftover, None)
        for p in trainable(self._model):
            p.__dict__.pop("_current_grad_sample", None)
            p._forward_counter = 0  # type: ignore[attr-defined]

    def _clip(self, optimizer: DPOptimizer, *, batch_size: int, groups: torch.Tensor | None) -> torch.Tensor:
        """Leaves the sum of clipped gradients in the optimizer; returns which were clipped, bool (B,)."""
        for p in optimizer.params:
            if batch_size == 0:
                p.grad_sample = p.new_zeros((0, *p.shape))
            # rows that are no examples, or two lists of them, would each be clipped by themselves
            if not isinstance(p.grad_sample, torch.Tensor) or len(p.grad_sample) != batch_size:
                raise RuntimeError(f"A per-example gradient has not one row for each of the {batch_size} examples.")
        norms = _norms(optimizer)
        bad = ~torch.isfinite(norms)
        if bool(bad.any()):
            # A NaN would pass the clipping and turn the whole sum into NaN: one example with unbounded influence.
            for p in optimizer.params:
                p.grad_sample = _rows(p.grad_sample).masked_fill(bad[:, None], 0.0).view_as(p.grad_sample)
        if self._layer_norms:  # Opacus then finds nothing longer than all of them together
            learned = {name: p for name, p in self._model.named_parameters() if p.requires_grad}
            if [id(p) for p in learned.values()] != [id(p) for p in optimizer.params]:
                raise RuntimeError("The optimizer's parameters are not the model's.")
            rows = {name: p.grad_sample for name, p in zip(learned, optimizer.params, strict=True)}
            longer = bad | clip_by_layer(rows, self._layer_norms)
            optimizer.clip_and_accumulate()
            return longer
        bounds: torch.Tensor | float = self._max_grad_norm
        if self._groups is not None and groups is not None:
            bounds = self._groups.bounds(groups, max_grad_norm=self._max_grad_norm)
        if isinstance(bounds, torch.Tensor):  # Opacus knows one norm, the largest: beyond the group's own it finds none
            factors = clip_factors(norms, bounds)
            for p in optimizer.params:
                p.grad_sample = (_rows(p.grad_sample) * factors.nan_to_num()[:, None]).view_as(p.grad_sample)
        optimizer.clip_and_accumulate()
        return bad | (norms > bounds)

    def _plant(self, optimizer: DPOptimizer, added: torch.Tensor) -> None:
        """Adds to the sums of clipped gradients what an auditor's places add."""
        named = dict(self._model.named_parameters())
        for name, part in self._layout.unflatten(added.to(self._device)).items():
            named[name].summed_grad += part  # type: ignore[attr-defined]


def _norms(optimizer: DPOptimizer) -> torch.Tensor:
    """L2 norm of each example's whole gradient, (B,)."""
    parts = [torch.linalg.vector_norm(_rows(p.grad_sample), dim=1) for p in optimizer.params]
    norms: torch.Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return norms


def _rows(values: torch.Tensor) -> torch.Tensor:
    """(B, ...) as (B, numbers of one), also where either is 0."""
    return values.reshape(len(values), math.prod(values.shape[1:]))
