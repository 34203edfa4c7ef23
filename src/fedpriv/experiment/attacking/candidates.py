"""Losses and gradients of candidates under any parameters: the adversary's own copies of the model and of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from fedpriv.data import ClientIndex, FederatedData
from fedpriv.errors import FedprivError
from fedpriv.experiment.assembly import Experiment
from fedpriv.training import AdditiveTask

_BATCH = 256
_LARGEST = 1e6  # what stands for a loss that is not finite: of a model that diverged


class Candidates:
    """Groups of examples under the experiment's model.

    Args:
        data: has the examples as its training examples.
        groups: rows of each candidate, none empty.
    """

    def __init__(self, experiment: Experiment, data: FederatedData, groups: Sequence[np.ndarray]) -> None:
        if not isinstance(experiment.task, AdditiveTask):
            raise FedprivError("The loss is no sum over examples.")
        self._task, self._device = experiment.task, experiment.device
        self._model = experiment.new_model().eval()
        self._layout = experiment.layout(self._model)
        self._data, self._groups = data, groups

    def losses(self, parameters: torch.Tensor) -> np.ndarray:
        self._layout.load_into(self._model, parameters)
        return self.losses_now()

    def gradients(self, parameters: torch.Tensor) -> Iterator[torch.Tensor]:
        self._layout.load_into(self._model, parameters)
        named = dict(self._model.named_parameters())
        wanted = [named[name] for name in self._layout.names]
        for candidate in range(len(self._groups)):
            x, y = (tensor.to(self._device) for tensor in self._of_candidate.client(candidate))
            loss = self._task.losses(self._model(x), y).mean()
            found = torch.autograd.grad(loss, wanted, allow_unused=True)
            parts = [torch.zeros_like(p) if g is None else g for p, g in zip(wanted, found, strict=True)]
            yield torch.cat([part.reshape(-1) for part in parts]).cpu()

    def losses_of(self, state: dict[str, torch.Tensor]) -> np.ndarray:
        """Under a whole state dict, (n,)."""
        self._model.load_state_dict(state)
        return self.losses_now()

    @torch.no_grad()
    def losses_now(self) -> np.ndarray:
        """float64: a float32 loss is 0 where a model is sure, and sure in different measures."""
        found = []
        for batch in range(self._in_batches.num_clients):
            x, y = (tensor.to(self._device) for tensor in self._in_batches.client(batch))
            found.append(self._task.losses(self._model(x).double(), y).cpu().numpy())
        single = np.nan_to_num(np.concatenate(found), nan=_LARGEST, posinf=_LARGEST)
        sizes = [len(rows) for rows in self._groups]
        sums = np.add.reduceat(single, np.concatenate([[0], np.cumsum(sizes)[:-1]]))
        means: np.ndarray = sums / sizes
        return means

    @cached_property
    def _of_candidate(self) -> FederatedData:
        """A client a candidate."""
        offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in self._groups])])
        return self._divided(offsets)

    @cached_property
    def _in_batches(self) -> FederatedData:
        """A client a batch."""
        total = sum(len(rows) for rows in self._groups)
        return self._divided(np.append(np.arange(0, total, _BATCH), total))

    def _divided(self, offsets: np.ndarray) -> FederatedData:
        index = ClientIndex(offsets=offsets.astype(np.int64), indices=np.concatenate(self._groups))
        return replace(self._data, clients=index, holdout=None)
