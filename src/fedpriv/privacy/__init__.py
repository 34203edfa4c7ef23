"""Privacy as data: mechanisms, what they release, the ledger of it, and what may be claimed."""

from .batches import PoissonBatches
from .clipping import ClippingGrid
from .encoded import EncodedUpdate
from .mechanism import Mechanism
from .sampling import CohortSampler, make_sampler

__all__ = [
    "ClippingGrid",
    "CohortSampler",
    "EncodedUpdate",
    "Mechanism",
    "PoissonBatches",
    "make_sampler",
]
