"""The model that a run left, for trackers that keep models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.records.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class FinalModel:
    """How to make the model of a finished run. Offered to a callback whose constructor asks for ``final_model``.

    Args:
        new: makes the experiment's model, with its initial weights.
        example: what it takes, all zero, shape (2, ...): no one's data.
        normalisation: the public constants by which stored examples become what it takes; None: as they are.
    """

    new: "Callable[[], nn.Module]"
    example: "Tensor"
    normalisation: Mapping[str, Any] | None

    def load(self, folder: Path) -> "nn.Module":
        """The model with the weights in ``folder``, on the CPU, ready to predict."""
        from safetensors.torch import load_file

        model = self.new().cpu()
        model.load_state_dict(load_file(RunFolder(folder).model))
        return model.eval()
