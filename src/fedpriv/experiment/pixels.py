"""What pixels can be, once they are normalised."""

import numpy as np
import torch

from fedpriv.data import FederatedData


def pixel_range(data: FederatedData) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The darkest and the brightest, each (channels, 1, 1); None where examples are no images.

    Stored pixels run from 0 to 1 / scale; without normalisation from 0 to 1.
    """
    if len(data.input_shape) != 3 or data.num_tokens is not None:
        return None
    shape = (1, data.input_shape[0], 1, 1)
    if data.normalisation is None:
        return torch.zeros(shape[1:]), torch.ones(shape[1:])
    apply, most = data.normalisation.apply, 1.0 / data.normalisation.scale
    return torch.from_numpy(apply(np.zeros(shape))[0]), torch.from_numpy(apply(np.full(shape, most))[0])
