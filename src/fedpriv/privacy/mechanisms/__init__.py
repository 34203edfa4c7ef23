"""One file a mechanism: none, example-level DP-SGD, central client-level in three forms of clipping."""

from .central import CentralGaussian
from .central_adaptive import CentralAdaptive
from .central_per_layer import CentralPerLayer, LayerNorm
from .example import ExampleGaussian
from .no_privacy import NoPrivacy

__all__ = ["CentralAdaptive", "CentralGaussian", "CentralPerLayer", "ExampleGaussian", "LayerNorm", "NoPrivacy"]
