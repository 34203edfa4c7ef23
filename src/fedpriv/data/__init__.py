"""Data: loaders, partitions, and examples divided among clients."""

from fedpriv.data.dataset import Dataset, Examples, Normalisation
from fedpriv.data.describe import Description, describe, draw_partition
from fedpriv.data.federated import ClientIndex, FederatedData, Partition, federate
from fedpriv.data.strata import Strata, strata

__all__ = [
    "ClientIndex",
    "Dataset",
    "Description",
    "Examples",
    "FederatedData",
    "Normalisation",
    "Partition",
    "Strata",
    "describe",
    "draw_partition",
    "federate",
    "strata",
]
