"""Images between the darkest and the brightest pixel."""

import torch

from .interface import GradientObservation


def within(images: torch.Tensor, seen: GradientObservation) -> torch.Tensor:
    """The nearest images that can be, (n, *input_shape)."""
    if seen.darkest is None or seen.brightest is None:
        return images
    return torch.maximum(torch.minimum(images, seen.brightest.to(images)), seen.darkest.to(images))


def as_images(found: torch.Tensor, seen: GradientObservation) -> torch.Tensor:
    """As many as the batch has: what can be of what was found, and mid-grey for what was not.

    Args:
        found: (n, *input_shape), n at most the batch size.
    """
    low = torch.zeros(()) if seen.darkest is None else seen.darkest
    high = torch.zeros(()) if seen.brightest is None else seen.brightest
    grey = ((low + high) / 2).to(found).expand(seen.batch_size - len(found), *seen.input_shape)
    together = torch.cat([found, grey])
    return within(torch.where(together.isfinite(), together, ((low + high) / 2).to(found)), seen)
