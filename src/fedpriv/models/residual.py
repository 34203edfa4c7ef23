"""A small residual network, normalised within each example.

Initial weights come from torch's generator, as the caller seeded it.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from fedpriv.models.inputs import RESNET_SMALLEST, check_at_least_one, check_divides, check_image

_STAGES = 3


def resnet(*, input_shape: Sequence[int], num_outputs: int, width: int, blocks: int, groups: int) -> nn.Module:
    """The residual net for CIFAR with GroupNorm: (batch, channels, height, width) to (batch, num_outputs).

    Three stages, each half as wide in pixels and twice as wide in channels as the one before, then the mean over
    pixels. Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2, which has
    6 ``blocks`` + 2 layers; 1x1 convolutions where a stage begins, and GroupNorm for BatchNorm as in De et al. 2022,
    "Unlocking High-Accuracy Differentially Private Image Classification through Scale", section 3.

    Args:
        width: channels of the first stage.
        blocks: of a stage, each of two 3x3 convolutions.
        groups: of every GroupNorm; a divisor of ``width``.

    Raises:
        ConfigError: the input is no image, or smaller than 4x4, or a key is out of its range.
    """
    channels, _, _ = check_image(input_shape, model="resnet", smallest=RESNET_SMALLEST)
    check_at_least_one(width=width, blocks=blocks, groups=groups)
    check_divides(groups=groups, width=width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        norm=nn.GroupNorm(groups, width),
        relu=nn.ReLU(),
    )
    before = width
    for stage in range(_STAGES):
        after = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            name = f"stage{stage + 1}_block{block + 1}"
            layers[name] = _Block(before=before, after=after, stride=stride, groups=groups)
            before = after
    layers["pool"] = _MeanOverPixels()
    layers["output"] = nn.Linear(before, num_outputs)
    return nn.Sequential(layers)


class _Block(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, *, before: int, after: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, after)
        self.conv2 = nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, after)
        same = before == after and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(before, after, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu(self.norm1(self.conv1(x)))
        # nothing in place: Opacus keeps activations for the backward pass
        return functional.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class _MeanOverPixels(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))
