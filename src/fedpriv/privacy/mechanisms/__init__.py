"""One file a mechanism: none, example-level DP-SGD, client-level by a trusted server or by the clients themselves."""

from .central import CentralGaussian
from .central_adaptive import CentralAdaptive
from .central_per_layer import CentralPerLayer, LayerNorm
from .example import ExampleGaussian
from .local import LocalGaussian, LocalLaplace
from .no_privacy import NoPrivacy

__all__ = [
    "CentralAdaptive",
    "CentralGaussian",
    "CentralPerLayer",
    "ExampleGaussian",
    "LayerNorm",
    "LocalGaussian",
    "LocalLaplace",
    "NoPrivacy",
]
