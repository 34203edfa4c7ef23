"""Batches whose gradient is the one that was seen, found by optimisation."""

import copy
from dataclasses import dataclass
from typing import final

import torch
from torch.nn import functional

from fedpriv.errors import ConfigError, FedprivError

from .interface import AttackedModel, GradientAttack, GradientNeeds, GradientObservation, Recovered, check_batches
from .labels import all_labels
from .matching import Matcher
from .pixels import as_images, within

METHODS = ("dlg", "idlg", "cosine")
_DECAY_AT = (3 / 8, 5 / 8, 7 / 8)  # Geiping et al. 2020, appendix A


@final
@dataclass(frozen=True, kw_only=True)
class GradientInversion(GradientAttack):
    """Guesses a batch, and moves it until its gradient is what was seen; the best of some starts counts.

    | method | |
    | --- | --- |
    | ``dlg`` | squared distance, images and soft labels together, L-BFGS (Zhu, Liu & Han 2019, algorithm 1) |
    | ``idlg`` | the same with the label read off the last layer first; one example (Zhao et al. 2020, algorithm 1) |
    | ``cosine`` | one minus the cosine, plus total variation, signed Adam within the pixels' range, labels read off the
    last layer (Geiping, Bauermeister, Dröge & Moeller 2020, equation 4) |

    Unlike in the papers, all is computed in float64, and distances are divided by what was seen, squared.

    Args:
        method: one of these.
        batch_size: examples behind one message.
        messages: how many are attacked.
        model: ``initial`` or ``final``.
        iterations: of one start, at most.
        starts: of which that with the least distance counts.
        lr: of Adam, in units of the pixels' range, for ``cosine``.
        total_variation: weight of the mean difference between neighbouring pixels, for ``cosine``.
    """

    method: str
    batch_size: int
    messages: int
    model: str
    iterations: int
    starts: int
    lr: float
    total_variation: float

    def __post_init__(self) -> None:
        check_batches(_NAME, batch_size=self.batch_size, messages=self.messages, model=self.model)
        if self.method not in METHODS:
            raise ConfigError(f"attack.{_NAME}.method={self.method} is unknown; use one of {', '.join(METHODS)}.")
        if self.method == "idlg" and self.batch_size != 1:
            raise ConfigError(
                f"attack.{_NAME}.method=idlg reads the label of one example, not of {self.batch_size}: use "
                "method=cosine, or batch_size=1."
            )
        for key, value in (("iterations", self.iterations), ("starts", self.starts)):
            if value < 1:
                raise ConfigError(f"attack.{_NAME}.{key}={value} must be at least 1.")
        if not self.lr > 0 or not self.total_variation >= 0:
            raise ConfigError(f"attack.{_NAME}: lr must be positive, and total_variation not negative.")

    @property
    def needs(self) -> GradientNeeds:
        model: AttackedModel = "final" if self.model == "final" else "initial"
        return GradientNeeds(
            batch_size=self.batch_size,
            messages=self.messages,
            model=model,
            images=True,
            input_layer=False,
            output_layer=True,
        )

    def recover(self, seen: GradientObservation, coins: torch.Generator) -> Recovered:
        matcher = Matcher(seen=seen, model=copy.deepcopy(seen.model).double())
        search = self._signed_adam if self.method == "cosine" else self._lbfgs
        found = [search(matcher, coins) for _ in range(self.starts)]
        x, _ = min(found, key=lambda pair: pair[1])
        return Recovered(images=as_images(x, seen), labels=None)

    def _lbfgs(self, matcher: Matcher, coins: torch.Generator) -> tuple[torch.Tensor, float]:
        seen, target = matcher.seen, matcher.target
        scale = target.square().sum().clamp(min=_TINY)
        x, labels = _start(seen, coins).requires_grad_(), None
        logits = torch.zeros((seen.batch_size, _classes(seen)), dtype=torch.float64)
        if self.method == "idlg":
            labels = functional.one_hot(all_labels(seen), _classes(seen)).double()
        else:
            logits = torch.randn(logits.shape, generator=coins, dtype=torch.float64).requires_grad_()
        moved = [x] if labels is not None else [x, logits]

        def distance() -> torch.Tensor:
            targets = functional.softmax(logits, dim=1) if labels is None else labels
            return (matcher.gradient(x, targets) - target).square().sum() / scale

        optimizer = torch.optim.LBFGS(
            moved,
            max_iter=self.iterations,
            history_size=50,
            tolerance_grad=_TOLERANCE,
            tolerance_change=_TOLERANCE,
            line_search_fn="strong_wolfe",
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = distance()
            loss.backward()
            return loss

        optimizer.step(closure)
        return x.detach(), _comparable(distance())

    def _signed_adam(self, matcher: Matcher, coins: torch.Generator) -> tuple[torch.Tensor, float]:
        seen, target = matcher.seen, matcher.target
        labels = functional.one_hot(all_labels(seen), _classes(seen)).double()
        if seen.darkest is None or seen.brightest is None:
            raise FedprivError("method=cosine is of images.")
        low, span = seen.darkest.double(), (seen.brightest - seen.darkest).double()
        # in units of the range, so that one step size fits every normalisation
        u = within(_start(seen, coins), seen)
        u = ((u - low) / span).requires_grad_()
        optimizer = torch.optim.Adam([u], lr=self.lr)
        decay = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(self.iterations * at) for at in _DECAY_AT])
        norm: torch.Tensor = torch.linalg.vector_norm(target).clamp(min=_TINY)

        def distance() -> torch.Tensor:
            gradient = matcher.gradient(u * span + low, labels)
            length = torch.linalg.vector_norm(gradient).clamp(min=_TINY)
            apart: torch.Tensor = 1 - (gradient @ target) / (length * norm)
            return apart + self.total_variation * _total_variation(u)

        for _ in range(self.iterations):
            (u.grad,) = torch.autograd.grad(distance(), [u])
            u.grad.sign_()
            optimizer.step()
            decay.step()
            with torch.no_grad():
                u.clamp_(0, 1)
        return (u.detach() * span + seen.darkest), _comparable(distance())


def _start(seen: GradientObservation, coins: torch.Generator) -> torch.Tensor:
    return torch.randn((seen.batch_size, *seen.input_shape), generator=coins, dtype=torch.float64)


def _classes(seen: GradientObservation) -> int:
    if seen.output_layer is None:
        raise FedprivError("gradient_inversion needs a last layer that is linear, over classes.")
    return len(seen.gradient[seen.output_layer.weight])


def _comparable(distance: torch.Tensor) -> float:
    found = float(distance.detach())
    return found if found == found else float("inf")


def _total_variation(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbours, down and across."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return down + (images[..., :, 1:] - images[..., :, :-1]).abs().mean()


_NAME = "gradient_inversion"
_TINY = 1e-300
_TOLERANCE = 1e-14
