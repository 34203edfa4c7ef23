"""One file a mechanism: none, example-level DP-SGD, client-level by a trusted server or by the clients themselves."""

from .both_units import BothUnits
from .central import CentralGaussian
from .central_adaptive import CentralAdaptive
from .central_per_layer import CentralPerLayer, LayerNorm
from .distributed import DistributedGaussian
from .example import ExampleGaussian
from .ftrl import FtrlBanded, FtrlTree
from .local import LocalGaussian, LocalLaplace
from .no_privacy import NoPrivacy

__all__ = [
    "BothUnits",
    "CentralAdaptive",
    "CentralGaussian",
    "CentralPerLayer",
    "DistributedGaussian",
    "ExampleGaussian",
    "FtrlBanded",
    "FtrlTree",
    "LayerNorm",
    "LocalGaussian",
    "LocalLaplace",
    "NoPrivacy",
]
