"""What a file or folder of data looks like, and a config block that loads it."""

from fedpriv.data.proposals.proposal import FROM_THE_DATA, Proposal
from fedpriv.data.proposals.registry import propose

__all__ = ["FROM_THE_DATA", "Proposal", "propose"]
