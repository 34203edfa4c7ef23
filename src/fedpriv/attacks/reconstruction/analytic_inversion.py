"""Inputs read off a linear layer's gradient."""

from dataclasses import dataclass
from typing import final

import torch

from fedpriv.errors import FedprivError

from .interface import AttackedModel, GradientAttack, GradientNeeds, GradientObservation, Recovered, check_batches
from .pixels import as_images

_ALIKE = 1e-2  # share of the pixels' range, below which two rows' inputs count as one


@final
@dataclass(frozen=True, kw_only=True)
class AnalyticInversion(GradientAttack):
    """Where a layer W x + b gets the input, dL/dW_i = dL/db_i x for every unit i (Phong, Aono, Hayashi, Wang &
    Moriai 2018, "Privacy-preserving deep learning via additively homomorphic encryption", section 3).

    One example: all units estimate the same x; least squares weighs them by dL/db_i, which is best under independent
    noise of equal size. Several: a unit that is active for one of them gives it, another a mixture. Inputs that
    several units agree on, and that are possible pixels, come first (as in Boenisch et al. 2023, "When the curious
    abandon honesty", section 4, with an untampered model).

    Args:
        batch_size: examples behind one message.
        messages: how many are attacked.
        model: ``initial`` or ``final``.
    """

    batch_size: int
    messages: int
    model: str

    def __post_init__(self) -> None:
        check_batches("analytic_inversion", batch_size=self.batch_size, messages=self.messages, model=self.model)

    @property
    def needs(self) -> GradientNeeds:
        model: AttackedModel = "final" if self.model == "final" else "initial"
        return GradientNeeds(
            batch_size=self.batch_size,
            messages=self.messages,
            model=model,
            images=True,
            input_layer=True,
            output_layer=False,
        )

    def recover(self, seen: GradientObservation, coins: torch.Generator) -> Recovered:
        if seen.input_layer is None:
            raise FedprivError("analytic_inversion needs a first layer that is linear, with bias.")
        weight, bias = seen.gradient[seen.input_layer.weight].double(), seen.gradient[seen.input_layer.bias].double()
        if seen.batch_size == 1:
            found = (bias @ weight)[None] / (bias @ bias).clamp(min=_TINY)
        else:
            found = self._rows(weight, bias, seen)
        return Recovered(images=as_images(found.reshape(-1, *seen.input_shape), seen), labels=None)

    def _rows(self, weight: torch.Tensor, bias: torch.Tensor, seen: GradientObservation) -> torch.Tensor:
        active = bias.abs() > _LEAST_SHARE * bias.abs().max().clamp(min=_TINY)
        inputs = weight[active] / bias[active, None]
        if seen.darkest is None or seen.brightest is None:
            return inputs[: seen.batch_size]
        pictures = inputs.reshape(-1, *seen.input_shape)
        span = (seen.brightest - seen.darkest).double()
        scaled = ((pictures - seen.darkest) / span).flatten(1)
        outside = (scaled - scaled.clamp(0, 1)).abs().mean(dim=1)
        alike = torch.cdist(scaled, scaled) < _ALIKE * scaled.shape[1] ** 0.5
        # what several units agree on to the digit is no chance mixture; then, what is possible
        order = sorted(range(len(inputs)), key=lambda i: (-int(alike[i].sum()), float(outside[i])))
        chosen: list[int] = []
        for i in order:
            if len(chosen) < seen.batch_size and float(outside[i]) < _POSSIBLE and not alike[i, chosen].any():
                chosen.append(i)
        return inputs[chosen]


_TINY = 1e-300
_LEAST_SHARE = 1e-6
_POSSIBLE = 0.05
