"""Privacy as data: mechanisms, what they release, the ledger of it, and what may be claimed."""

from .batches import PoissonBatches
from .clipping import ClippingGrid
from .encoded import EncodedUpdate
from .mechanism import Mechanism
from .sampling import AllClients, CohortSampler, FixedSizeSampler, PoissonSampler

__all__ = [
    "AllClients",
    "ClippingGrid",
    "CohortSampler",
    "EncodedUpdate",
    "FixedSizeSampler",
    "Mechanism",
    "PoissonBatches",
    "PoissonSampler",
]
