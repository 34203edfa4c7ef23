"""Small convolutional models, without normalisation layers, so that per-example gradients exist.

Initial weights come from torch's generator, as the caller seeded it.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from fedpriv.models.inputs import CNN_SMALLEST, LENET_SMALLEST, check_image


def lenet(*, input_shape: Sequence[int], num_outputs: int) -> nn.Sequential:
    """The MNIST net of the DP-SGD literature, 26,010 parameters at 1x28x28 and 10 classes.

    (batch, channels, height, width), at least 14x14, to (batch, num_outputs).
    Source: Papernot et al. 2021, "Tempered Sigmoid Activations for Deep Learning with Differential Privacy"
    (MNIST architecture); with ReLU, as in the MNIST example of Opacus.

    Raises:
        ConfigError: the input is no image, or too small.
    """
    channels, height, width = check_image(input_shape, model="lenet", smallest=LENET_SMALLEST)

    def side(size: int) -> int:
        convolved = (size + 2 * 3 - 8) // 2 + 1
        return ((convolved - 1) - 4) // 2 + 1 - 1

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 16, kernel_size=8, stride=2, padding=3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2, stride=1),
            conv2=nn.Conv2d(16, 32, kernel_size=4, stride=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2, stride=1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32 * side(height) * side(width), 32),
            relu3=nn.ReLU(),
            fc2=nn.Linear(32, num_outputs),
        )
    )


def cnn(*, input_shape: Sequence[int], num_outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions and a wide layer, 1,626,442 parameters at 3x32x32 and 10 classes.

    (batch, channels, height, width), at least 6x6, to (batch, num_outputs).

    Raises:
        ConfigError: the input is no image, or too small.
    """
    channels, height, width = check_image(input_shape, model="cnn", smallest=CNN_SMALLEST)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 32, kernel_size=3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, kernel_size=3),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
            relu3=nn.ReLU(),
            fc2=nn.Linear(128, num_outputs),
        )
    )
