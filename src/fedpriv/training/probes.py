"""Trial runs of a model before training: what it remembers, and whether a row of its gradients is one example's.

All on copies, on the CPU, whose trainable parameters are moved at random: a gate that starts at zero, such as
LoRA's, hides nothing then.
"""

import contextlib
import copy
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv.errors import ConfigError, in_one_line
from fedpriv.streams import global_coins

from .local_steps import tensors_of

_ADVICE = (
    "No example's influence can be clipped then. Keep the batch the first dimension of every layer's input "
    "(Linear takes (batch, ..., features)) and normalise within each example (GroupNorm, LayerNorm)."
)

Rows = dict[str, torch.Tensor]


def check_memory(model: nn.Module, sample: torch.Tensor, num_tokens: int | None, *, must_run: bool) -> None:
    """Raises ConfigError where a training pass leaves something in the model that the next client would meet.

    Args:
        must_run: whether a model that raises is refused; else it is the business of the rounds.
    """
    examples, others = (random_examples(sample, num_tokens, seed=seed) for seed in (1, 2))
    trial = moved(model, seed=0)
    fresh = copy.deepcopy(trial)
    before = {name: tensor.detach().clone() for name, tensor in tensors_of(trial)}
    try:
        outputs_of(trial, others)
        after, alone = outputs_of(trial, examples), outputs_of(fresh, examples)
    except Exception as error:
        if must_run:
            raise ConfigError(f"The model raises in a training pass: {in_one_line(error)}.") from error
        return
    for name, tensor in tensors_of(trial):
        if name not in before or not _equal(before[name], tensor):
            kind = "parameter" if name in dict(trial.named_parameters()) else "buffer"
            raise ConfigError(
                f"The model's {kind} '{name}' changes while it trains, by no optimizer, which no privacy mechanism "
                "here covers. Use a layer without running statistics."
            )
    comparable = isinstance(after, torch.Tensor) and isinstance(alone, torch.Tensor)
    if comparable and differ(after, alone, tolerance=1e-5):
        raise ConfigError(
            f"The model remembers examples{_where(trial, fresh)}: its outputs change with what it has seen before, "
            "which no privacy mechanism here covers. Compute outputs from the example and the parameters alone."
        )


def check_mixing(model: nn.Module, sample: torch.Tensor, num_tokens: int | None) -> None:
    """Raises ConfigError if an output changes with the rest of its batch."""
    if what := mixing(model, sample, num_tokens):
        raise ConfigError(f"The model mixes the examples of a batch: an output changes with {what}. {_ADVICE}")


def check_idle(model: nn.Module, sample: torch.Tensor, num_tokens: int | None) -> None:
    """Raises ConfigError for a parameter that would learn nothing but noise."""
    trial = moved(model, seed=0)
    parameters = {name: p for name, p in trial.named_parameters() if p.requires_grad}
    outputs = outputs_of(trial, random_examples(sample, num_tokens, seed=1))
    gradients = torch.autograd.grad(projected(outputs), tuple(parameters.values()), allow_unused=True)
    for name, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            raise _idle(name)


def _idle(name: str) -> ConfigError:
    return ConfigError(
        f"The model's parameter '{name}' takes no part in the output, so it has no per-example gradient; remove it, or "
        "set its requires_grad to False."
    )


def mixing(model: nn.Module, sample: torch.Tensor, num_tokens: int | None) -> str | None:
    """What output i changes with beside example i, in training mode, with the same coins; None for nothing.

    Raises:
        ConfigError: outputs that are not finite.
    """
    examples, others = (random_examples(sample, num_tokens, seed=seed) for seed in (1, 2))
    trial = moved(model, seed=0)
    outputs = _finite(outputs_of(trial, examples))
    if _changes(trial, examples, outputs, others):
        return "the other examples"
    for rest in (others * 1000, -others) if others.is_floating_point() else ():
        # a model may look whether its inputs are pixels from 0 to 255; one that raises for such inputs mixes nothing
        with contextlib.suppress(Exception):
            if _changes(trial, examples, outputs, rest):
                return "the other examples"
    if tosses_coins(model, sample, num_tokens):
        quiet(trial)  # whose coins depend on the size of the batch
    many = torch.cat([examples, others.repeat(20, *[1] * (others.dim() - 1))])
    if differ(outputs_of(trial, many)[: len(examples)], outputs_of(trial, examples), tolerance=1e-4):
        return "the size of the batch"
    return None


def _changes(model: nn.Module, examples: torch.Tensor, outputs: torch.Tensor, rest: torch.Tensor) -> bool:
    """Whether the output of an example changes when the others are these."""
    there = range(len(examples))
    return any(differ(outputs_of(model, _among(rest, examples, i))[i], outputs[i], tolerance=1e-4) for i in there)


def tosses_coins(model: nn.Module, sample: torch.Tensor, num_tokens: int | None) -> bool:
    """Whether a training pass draws from a global generator, as with dropout."""
    examples, trial = random_examples(sample, num_tokens, seed=1), moved(model, seed=0)
    with global_coins(np.random.default_rng(0)), torch.enable_grad():
        before = _coins()
        trial(examples)
        return _coins() != before


def _coins() -> tuple[Any, ...]:
    """Where torch's, Python's and numpy's global generators are."""
    numpys: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numpys[1].tobytes(), numpys[2]


def check_rows(model: nn.Module, sample: torch.Tensor, num_tokens: int | None) -> None:
    """Raises ConfigError unless row i of every per-example gradient of Opacus is the gradient of example i.

    In training mode, with the same coins each time, row i does not change with the other examples; and with dropout
    off, it is what autograd finds for example i as a batch of its own.
    """
    from opacus.grad_sample import GradSampleModule

    examples, others = (random_examples(sample, num_tokens, seed=seed) for seed in (1, 2))
    trial, plain = moved(model, seed=0), moved(model, seed=0)
    try:
        with warnings.catch_warnings(action="ignore"):
            hooked = GradSampleModule(trial, loss_reduction="sum")
    except Exception as error:
        raise _not_computed(error) from error
    rows = _rows(hooked, examples)
    name = first_difference(_rows(hooked, _among(others, examples, 1)), rows, 1, tolerance=1e-3)
    if name is not None:
        raise ConfigError(
            f"The model mixes the examples of a batch: an example's gradient of '{name}' changes with the other "
            f"examples. {_ADVICE}"
        )
    quiet(hooked)
    quiet(plain)
    rows = _rows(hooked, examples)
    for i in range(len(examples)):
        # a batch of another size is summed in another order, which may move a unit across the kink of a ReLU
        name = first_difference(rows, alone(plain, examples, i), i, tolerance=0.03)
        if name is not None:
            raise ConfigError(
                f"Opacus' per-example gradient of the parameter '{name}' is not that of the example alone. Use weights "
                "only by calling their layer, and nothing that depends on the size of the batch."
            )


def _rows(hooked: nn.Module, examples: torch.Tensor) -> Rows:
    """Per-example gradients by Opacus, each of shape (batch, *parameter)."""
    parameters = {name.removeprefix("_module."): p for name, p in hooked.named_parameters() if p.requires_grad}
    for p in parameters.values():
        p.grad = p.grad_sample = None  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings(action="ignore"):
            projected(outputs_of(hooked, examples)).backward()
    except Exception as error:
        raise _not_computed(error) from error
    rows = {name: p.grad_sample for name, p in parameters.items()}  # type: ignore[attr-defined]
    for name, found in rows.items():
        if found is None:
            raise _idle(name)
        count = len(found) if isinstance(found, torch.Tensor) else sum(map(len, found))
        if not isinstance(found, torch.Tensor) or count != len(examples):
            raise ConfigError(
                f"The per-example gradient of the model's parameter '{name}' has {count} rows for {len(examples)} "
                f"examples. {_ADVICE}"
            )
        _finite(found)
    return rows


def _finite(values: torch.Tensor) -> torch.Tensor:
    if not bool(torch.isfinite(values).all()):
        raise ConfigError(
            "The model's outputs or gradients are not finite for examples between 0 and 2 and parameters near its "
            "own, so that its per-example gradients cannot be checked. Bound what it takes logarithms or roots of."
        )
    return values


def _among(others: torch.Tensor, examples: torch.Tensor, i: int) -> torch.Tensor:
    """The others, but example i in its place."""
    mixed = others.clone()
    mixed[i] = examples[i]
    return mixed


def alone(plain: nn.Module, examples: torch.Tensor, i: int) -> Rows:
    """What autograd finds for example i as a batch of its own, in row i."""
    parameters = {name: p for name, p in plain.named_parameters() if p.requires_grad}
    try:
        loss = projected(outputs_of(plain, examples[i : i + 1]))
        found = torch.autograd.grad(loss, tuple(parameters.values()), allow_unused=True)
    except Exception as error:
        raise ConfigError(f"The model fails with a batch of one example: {in_one_line(error)}.") from error
    gradients = zip(parameters.items(), found, strict=True)
    return {name: (torch.zeros_like(p) if g is None else g).expand(i + 1, *p.shape) for (name, p), g in gradients}


def projected(outputs: torch.Tensor) -> torch.Tensor:
    """A sum over examples that weighs all outputs of an example differently."""
    weights = torch.randn(outputs.shape[1:], generator=torch.Generator().manual_seed(3)).to(outputs.dtype)
    return (outputs * weights).sum()


def quiet(model: nn.Module) -> None:
    """No dropout: only layers with parameters of their own that learn stay in training mode, as Opacus' hooks ask."""
    for module in model.modules():
        module.training = any(p.requires_grad for p in module.parameters(recurse=False))


def outputs_of(model: Callable[[torch.Tensor], Any], examples: torch.Tensor) -> Any:
    """With the same coins each time."""
    with global_coins(np.random.default_rng(0)), torch.enable_grad():
        return model(examples)


def moved(model: nn.Module, *, seed: int) -> nn.Module:
    """A copy whose trainable parameters are moved, by half of what layers of such width usually start from."""
    try:
        moved = copy.deepcopy(model).cpu().train()
    except Exception as error:
        raise ConfigError(
            f"The model cannot be copied (copy.deepcopy: {in_one_line(error)}), so it cannot be checked. "
            "Keep no results of earlier passes in it, and use torch.nn.utils.parametrizations for weight norms."
        ) from error
    coins = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in moved.parameters():
            if p.requires_grad:
                width = p[0].numel() if p.dim() > 1 else 25
                p.add_(torch.randn(p.shape, generator=coins).to(p.dtype), alpha=0.5 * max(width, 1) ** -0.5)
    return moved


def random_examples(sample: torch.Tensor, num_tokens: int | None, *, seed: int) -> torch.Tensor:
    """Any token for tokens; else numbers in [0, 2), so that a column that is an index is 0 or 1."""
    coins = torch.Generator().manual_seed(seed)
    if sample.is_floating_point():
        return (2 * torch.rand(sample.shape, generator=coins)).to(sample.dtype)
    return torch.randint(0, num_tokens or 2, sample.shape, generator=coins).to(sample.dtype)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def differ(one: torch.Tensor, other: torch.Tensor, *, tolerance: float) -> bool:
    """By more than ``tolerance``, relative to the largest value."""
    if one.shape != other.shape:
        return True
    one, other = one.detach(), other.detach()
    return float((one - other).abs().max()) > tolerance * float(other.abs().max())


def first_difference(found: Rows, expected: Rows, i: int, *, tolerance: float) -> str | None:
    """The first parameter whose row i is another, relative to its length; next to the whole gradient's, nothing."""
    whole = float(torch.stack([rows[i].double().norm() for rows in expected.values()]).norm())
    for name, rows in expected.items():
        error, length = float((rows[i] - found[name][i]).double().norm()), float(rows[i].double().norm())
        if error > tolerance * (length + 0.1 * whole):
            return name
    return None


def _where(trial: nn.Module, fresh: nn.Module) -> str:
    """The attributes of number or tensor that a pass has changed."""
    unseen = dict(fresh.named_modules())
    for name, module in trial.named_modules():
        for key, value in vars(module).items():
            if key.startswith("_") or not isinstance(value, torch.Tensor | np.ndarray | int | float):
                continue
            before = vars(unseen[name]).get(key) if name in unseen else None
            if before is None or not np.array_equal(_plain(value), _plain(before)):
                return f" in the attribute '{name}.{key}'".replace("'.", "'")
    return ""


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _not_computed(error: Exception) -> ConfigError:
    return ConfigError(
        f"Opacus cannot compute the model's per-example gradients: {in_one_line(error)}. "
        "Use layers that Opacus supports."
    )
