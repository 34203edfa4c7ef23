"""What is learned: the loss that training minimises, and the metrics that evaluation reports."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch.nn import functional

from fedpriv.errors import ConfigError


class Task(Protocol):
    """A supervised task over batches of outputs and targets.

    Attributes:
        headline: the metric that runs are compared by.
        higher_is_better: of the headline.
        output_shape: what a model returns for one example.
    """

    @property
    def headline(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def output_shape(self) -> tuple[int, ...]: ...

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of a batch (0-d)."""
        ...

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Name -> value over all examples at once; NaN where it is not defined for these."""
        ...

    def baseline(self, targets: torch.Tensor) -> float:
        """The headline of the best constant answer to these targets."""
        ...


@runtime_checkable
class AdditiveTask(Task, Protocol):
    """A task whose loss is a sum of losses of single examples, as example-level DP needs."""

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Every example's loss (n,); ``loss_sum`` is their sum."""
        ...


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Cross-entropy and accuracy. Outputs are logits (n, classes), targets int64 (n,)."""

    num_classes: int
    headline: str = "accuracy"
    higher_is_better: bool = True

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.num_classes,)

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(outputs, targets).sum()

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {"accuracy": _share(outputs.argmax(dim=1) == targets)}

    def baseline(self, targets: torch.Tensor) -> float:
        return _largest_share(targets)


@dataclass(frozen=True, kw_only=True)
class Binary:
    """Logistic loss, accuracy and area under the ROC curve. Outputs are one logit (n, 1), targets 0 or 1 (n,)."""

    headline: str = "accuracy"
    higher_is_better: bool = True
    output_shape: tuple[int, ...] = (1,)

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(outputs, targets).sum()

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype), reduction="none")

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {"accuracy": _share((outputs[:, 0] > 0) == (targets == 1)), "auroc": _auroc(outputs[:, 0], targets)}

    def baseline(self, targets: torch.Tensor) -> float:
        return _largest_share(targets)


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Half the squared error; root mean squared and mean absolute error, and R^2. Outputs (n, 1), targets (n,).

    Args:
        low, high: public range of the targets. The model learns them mapped to [-1, 1], and the loss is of those;
            metrics are in the targets' own unit.
    """

    low: float
    high: float
    headline: str = "rmse"
    higher_is_better: bool = False
    output_shape: tuple[int, ...] = (1,)

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(outputs, targets).sum()

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(outputs[:, 0], (targets - self._centre) / self._half, reduction="none") / 2

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        predicted, true = outputs[:, 0].double() * self._half + self._centre, targets.double()
        error = predicted - true
        spread = float(((true - true.mean()) ** 2).mean())
        mse = float((error**2).mean())
        return {
            "rmse": math.sqrt(mse),
            "mae": float(error.abs().mean()),
            "r2": 1 - mse / spread if spread > 0 else math.nan,
        }

    def baseline(self, targets: torch.Tensor) -> float:
        return float(targets.double().std(correction=0))

    @property
    def _centre(self) -> float:
        return (self.low + self.high) / 2

    @property
    def _half(self) -> float:
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True)
class NextToken:
    """The class at every position of a sequence, such as the next character; an example is a whole sequence.

    Outputs are logits (n, length, classes), targets int64 (n, length). The loss of an example is the mean over its
    positions, so that its gradient does not grow with its length.
    """

    length: int
    num_classes: int
    headline: str = "accuracy"
    higher_is_better: bool = True

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.length, self.num_classes)

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(outputs, targets).sum()

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs.movedim(2, 1), targets, reduction="none").mean(dim=1)

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        loss = float(self.loss_sum(outputs, targets)) / max(len(targets), 1)
        return {"accuracy": _share(outputs.argmax(dim=2) == targets), "perplexity": math.exp(min(loss, 700.0))}

    def baseline(self, targets: torch.Tensor) -> float:
        return _largest_share(targets.flatten())


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Cox's partial likelihood (Breslow's ties) and Harrell's concordance index.

    Outputs are log risks (n, 1), targets (n, 2): time, event. Every event is compared with all patients still at
    risk in the batch: the loss is no sum over examples, and no example's influence on a gradient can be clipped.
    """

    headline: str = "c_index"
    higher_is_better: bool = True
    output_shape: tuple[int, ...] = (1,)

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        risk, time, event = outputs[:, 0], targets[:, 0], targets[:, 1]
        order = torch.argsort(time, descending=True, stable=True)
        at_risk = torch.logcumsumexp(risk[order], dim=0)
        # patients with the same time are at risk together: each takes the last sum of its time
        last = torch.searchsorted(-time[order], -time[order], right=True) - 1
        return -((risk[order] - at_risk[last]) * event[order]).sum()

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {"c_index": concordance(outputs[:, 0], time=targets[:, 0], event=targets[:, 1])}

    def baseline(self, targets: torch.Tensor) -> float:
        return 0.5


def concordance(risk: torch.Tensor, *, time: torch.Tensor, event: torch.Tensor) -> float:
    """Harrell's C (1996): of all pairs whose order is known, the share where who failed earlier had the higher risk.

    A pair is known where the earlier time is an event; equal risks count half. NaN without such a pair.
    """
    known = (time[:, None] < time[None, :]) & (event[:, None] == 1)
    pairs = int(known.sum())
    right = ((risk[:, None] > risk[None, :]) & known).sum() + 0.5 * ((risk[:, None] == risk[None, :]) & known).sum()
    return float(right) / pairs if pairs else math.nan


def make_task(
    name: str,
    *,
    targets: str,
    label_shape: tuple[int, ...],
    num_classes: int | None,
    label_range: tuple[float, float] | None,
) -> Task:
    """The task of this name over data with these targets; ``auto``: the usual one.

    Args:
        targets, num_classes, label_range: as in ``Dataset``.
        label_shape: of one example's target.

    Raises:
        ConfigError: a task that these targets do not fit.
    """
    usual = {"classes": "classification", "numbers": "regression", "sequences": "next_token", "survival": "survival"}
    fitting = {**{kind: (task,) for kind, task in usual.items()}, "classes": ("classification", "binary")}
    chosen = usual[targets] if name == "auto" else name
    if chosen not in fitting[targets] or (chosen == "binary" and num_classes != 2):
        kind = f"{num_classes} classes" if targets == "classes" else targets
        raise ConfigError(
            f"task={name} does not fit labels that are {kind}; use task={usual[targets]} or auto, or other labels."
        )
    low, high = (-1.0, 1.0) if label_range is None else label_range
    classes = num_classes or 0
    tasks: Mapping[str, Task] = {
        "classification": Classification(num_classes=classes),
        "binary": Binary(),
        "regression": Regression(low=low, high=high),
        "next_token": NextToken(length=(*label_shape, 0)[0], num_classes=classes),
        "survival": Survival(),
    }
    return tasks[chosen]


def _share(right: torch.Tensor) -> float:
    return float(right.double().mean()) if right.numel() else math.nan


def _largest_share(classes: torch.Tensor) -> float:
    return float(torch.bincount(classes).max()) / len(classes)


def _auroc(score: torch.Tensor, targets: torch.Tensor) -> float:
    if len(torch.unique(targets)) < 2:
        return math.nan
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(targets.cpu().numpy(), score.double().cpu().numpy()))
