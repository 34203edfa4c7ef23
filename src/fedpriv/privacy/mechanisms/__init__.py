"""One file a mechanism: none, example-level DP-SGD, central client-level."""

from .central import CentralGaussian
from .example import ExampleGaussian
from .no_privacy import NoPrivacy, weighted_mean

__all__ = ["CentralGaussian", "ExampleGaussian", "NoPrivacy", "weighted_mean"]
