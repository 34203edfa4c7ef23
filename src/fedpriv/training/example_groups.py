"""Sensitive groups of examples in private local steps: to which norm each is clipped, and how often that happens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ExampleGroups:
    """What local steps know of sensitive groups.

    With norms of their own, groups are clipped as in DPSGD-F (Xu, Du & Wu 2021, "Removing Disparate Impact on Model
    Accuracy in Differentially Private Stochastic Gradient Descent", KDD, section 4.2), with norms that are public
    constants. One example adds to a step's sum at most the largest of them, whatever its group: that is the
    sensitivity, and the group is protected as all else about the example is.

    Args:
        names: sensitive attribute -> what its groups 0, 1, ... are called.
        norms: sensitive attribute -> each group's L2 bound of one example's gradient, of those that have their own.
    """

    names: Mapping[str, Sequence[str]]
    norms: Mapping[str, Mapping[int, float]]

    @cached_property
    def labels(self) -> list[str]:
        """Every group of every attribute, in the order of their counts."""
        return [f"{attribute}_{name}" for attribute, names in self.names.items() for name in names]

    @cached_property
    def first(self) -> torch.Tensor:
        """Place of each attribute's group 0 among the labels, int64 (attributes,)."""
        sizes = torch.tensor([0, *(len(names) for names in self.names.values())])
        return sizes.cumsum(0)[:-1]

    @cached_property
    def _bounds(self) -> torch.Tensor:
        """By label; infinite where the group has no norm of its own."""
        own = [
            self.norms.get(attribute, {}).get(code, math.inf)
            for attribute, names in self.names.items()
            for code in range(len(names))
        ]
        return torch.tensor(own)

    def bounds(self, groups: torch.Tensor, *, max_grad_norm: float) -> torch.Tensor | float:
        """L2 bound of each example's gradient, (...), never above ``max_grad_norm``.

        Args:
            groups: int64 (..., attributes).
        """
        if not self.norms:
            return max_grad_norm
        own = self._bounds.to(groups.device)[groups + self.first.to(groups.device)]
        return own.amin(dim=-1).clamp(max=max_grad_norm)


@final
class GroupTally:
    """Counts, client by client and group by group, the examples that were seen and those that were clipped."""

    def __init__(self, groups: ExampleGroups, *, clients: int) -> None:
        self._groups = groups
        self._counts = torch.zeros(2, clients * len(groups.labels), dtype=torch.int64)

    def add(self, groups: torch.Tensor, *, seen: torch.Tensor, clipped: torch.Tensor) -> None:
        """One step.

        Args:
            groups: int64 (K, B, attributes).
            seen, clipped: bool (K, B).
        """
        places = groups.cpu() + self._groups.first
        places += (torch.arange(len(places)) * len(self._groups.labels))[:, None, None]
        for counts, marked in zip(self._counts, (seen, clipped), strict=True):
            counts += torch.bincount(places[marked.cpu()].flatten(), minlength=len(counts))

    def metrics(self, client: int) -> dict[str, float]:
        """``examples_LABEL`` and ``clipped_examples_LABEL``, the share of them; NaN where a group has none."""
        labels = self._groups.labels
        rows = self._counts.view(2, -1, len(labels))[:, client].tolist()
        found: dict[str, float] = {}
        for label, seen, clipped in zip(labels, *rows, strict=True):
            found[f"examples_{label}"] = float(seen)
            found[f"clipped_examples_{label}"] = clipped / seen if seen else math.nan
        return found
