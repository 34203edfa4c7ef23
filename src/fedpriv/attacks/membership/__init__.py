"""Membership inference: was this example, or this client, among those that the run trained on?"""

from .client_cosine import ClientCosine
from .client_regression import ClientRegression
from .lira import LiraOffline, LiraOnline
from .loss_drop import LossDrop
from .loss_threshold import LossThreshold
from .rmia import Rmia
from .update_cosine import UpdateCosine

__all__ = [
    "ClientCosine",
    "ClientRegression",
    "LiraOffline",
    "LiraOnline",
    "LossDrop",
    "LossThreshold",
    "Rmia",
    "UpdateCosine",
]
