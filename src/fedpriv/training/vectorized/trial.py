"""Whether a model can be stacked: tried on a few examples, and compared with autograd, example by example."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..probes import alone, differ, mixing, moved, outputs_of, projected, quiet, random_examples, tosses_coins
from .model import StackedModel
from .wide import is_wide

_CLIENTS, _EXAMPLES = 3, 2
_TOLERANCE = 1e-3  # relative; a batch of another size is summed in another order


@dataclass(frozen=True, kw_only=True)
class Formulation:
    """How a model is stacked.

    Attributes:
        whole: mapped over examples as it is, instead of layer by layer.
        side_by_side: whether several clients may share a pass; else one after another. Models that toss coins, as with
            dropout, may not: each client has its own.
        methods: layer -> how its examples' norms come about; an empty name: the whole model.
        wide: Linear layers so wide that few steps of plain SGD are better kept as factors, see ``wide``.
    """

    whole: bool
    side_by_side: bool
    methods: dict[str, str]
    wide: tuple[str, ...]


def find_formulation(
    model: nn.Module, sample: torch.Tensor, num_tokens: int | None, *, by_example: bool
) -> Formulation | None:
    """The first that computes what autograd does: layer by layer, or the whole model; side by side, or not; or None.

    Args:
        sample: an example as the model will get them, in a batch of its own; its values do not matter.
        num_tokens: how many tokens there are, where examples are tokens.
        by_example: whether gradients will be clipped example by example.
    """
    examples = random_examples(_repeated(sample, _CLIENTS * _EXAMPLES), num_tokens, seed=1)
    clients = [moved(model, seed=seed) for seed in range(_CLIENTS)]
    try:
        if mixing(model, _repeated(sample, _EXAMPLES), num_tokens):
            return None  # clients of a stack would meet
        own_coins = tosses_coins(model, _repeated(sample, _EXAMPLES), num_tokens)
        for client in clients:
            quiet(client)
        expected = [_expected(client, part) for client, part in zip(clients, examples.split(_EXAMPLES), strict=True)]
    except MemoryError:
        raise
    except Exception:  # such as a layer that needs more than one example
        return None
    for whole, side_by_side in ((False, True), (False, False), (True, True), (True, False)):
        if side_by_side and own_coins:
            continue  # whose coins are whose would depend on who is in the stack
        count = _CLIENTS if side_by_side else 1
        try:
            agreed = True
            for unfolded in (True, False):
                trial = StackedModel(
                    clients[0], clients=count, by_example=by_example, unfolded=unfolded, whole=whole, wide=()
                )
                agreed = agreed and _agrees(
                    trial, clients[:count], examples[: count * _EXAMPLES], expected[:count], by_example=by_example
                )
            if agreed:
                wide = tuple(name for name, layer in trial.layers.items() if is_wide(layer))
                return Formulation(whole=whole, side_by_side=side_by_side, methods=trial.methods, wide=wide)
        except MemoryError:
            raise
        except Exception:  # whatever the model does that this formulation does not support
            continue
    return None


def _repeated(sample: torch.Tensor, count: int) -> torch.Tensor:
    return sample[:1].repeat(count, *[1] * (sample.dim() - 1))


def _expected(client: nn.Module, examples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs (B, ...) and gradients (B, D) of examples that are batches of their own."""
    outputs = torch.cat([outputs_of(client, example[None]).detach() for example in examples])
    rows = [
        torch.cat([gradient[0].flatten() for gradient in alone(client, example[None], 0).values()])
        for example in examples
    ]
    return outputs, torch.stack(rows)


def _agrees(
    trial: StackedModel,
    clients: Sequence[nn.Module],
    examples: torch.Tensor,
    expected: Sequence[tuple[torch.Tensor, torch.Tensor]],
    *,
    by_example: bool,
) -> bool:
    parameters = [torch.cat([p.detach().flatten() for p in c.parameters() if p.requires_grad]) for c in clients]
    trial.begin(torch.stack(parameters), {})
    trial.body.eval()
    outputs = outputs_of(trial, examples)
    if differ(outputs, torch.cat([out for out, _ in expected]), tolerance=_TOLERANCE):
        return False
    projected(outputs).backward()
    rows = torch.stack([gradients for _, gradients in expected])
    weights = torch.linspace(0.3, 1.0, rows.shape[0] * rows.shape[1]).view(rows.shape[:2]) if by_example else None
    if by_example and differ(trial.square_norms().sqrt(), rows.norm(dim=2), tolerance=_TOLERANCE):
        return False
    found = torch.empty_like(rows[:, 0])
    trial.gradients(weights, into=found)
    wanted = rows.sum(dim=1) if weights is None else (rows * weights[..., None]).sum(dim=1)
    return all(
        not differ(part, want, tolerance=_TOLERANCE + 1e-6 * float(wanted.abs().max() / want.abs().max().clamp(1e-30)))
        for (_, part), (_, want) in zip(trial.named(found), trial.named(wanted), strict=True)
    )
