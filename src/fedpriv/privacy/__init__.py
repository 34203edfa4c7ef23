"""Privacy as data: mechanisms, what they release, the ledger of it, and what may be claimed."""

from .batches import PoissonBatches
from .clipping import ClippingGrid
from .encoded import EncodedUpdate, Gathered, Senders, State
from .mechanism import Mechanism, OneRelease
from .retirement import Retirement
from .sampling import CohortSampler, LeavingSampler, RetiringSampler, make_sampler

__all__ = [
    "ClippingGrid",
    "CohortSampler",
    "EncodedUpdate",
    "Gathered",
    "LeavingSampler",
    "Mechanism",
    "OneRelease",
    "PoissonBatches",
    "Retirement",
    "RetiringSampler",
    "Senders",
    "State",
    "make_sampler",
]
