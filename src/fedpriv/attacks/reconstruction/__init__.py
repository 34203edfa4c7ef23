"""Reconstruction: inputs and labels of a client's batch, from the gradient that its message holds."""

from .analytic_inversion import AnalyticInversion
from .gradient_inversion import GradientInversion
from .interface import Clip, GradientAttack, GradientNeeds, GradientObservation, Recovered
from .labels import LabelRecovery
from .layers import InputLayer, OutputLayer, find_layers

__all__ = [
    "AnalyticInversion",
    "Clip",
    "GradientAttack",
    "GradientInversion",
    "GradientNeeds",
    "GradientObservation",
    "InputLayer",
    "LabelRecovery",
    "OutputLayer",
    "Recovered",
    "find_layers",
]
