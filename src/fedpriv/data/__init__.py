"""Data: loaders, partitions, and examples divided among clients."""

from fedpriv.data.dataset import Dataset, Examples, Normalisation
from fedpriv.data.describe import Description, describe, draw_partition
from fedpriv.data.federated import ClientIndex, FederatedData, federate

__all__ = [
    "ClientIndex",
    "Dataset",
    "Description",
    "Examples",
    "FederatedData",
    "Normalisation",
    "describe",
    "draw_partition",
    "federate",
]
