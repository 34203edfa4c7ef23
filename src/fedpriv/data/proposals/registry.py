"""Which proposer describes which kind of path."""

from collections.abc import Callable
from pathlib import Path

from fedpriv.data.proposals import idx_files, npz_file, table_file
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.errors import DataError

# (recognises, proposes), asked in this order; a proposer takes (path, label=, user=).
_PROPOSERS: tuple[tuple[Callable[[Path], bool], Callable[..., Proposal]], ...] = (
    (npz_file.recognises, npz_file.propose),
    (idx_files.recognises, idx_files.propose),
    (table_file.recognises, table_file.propose),
)
_KINDS = "a CSV or Parquet table, an .npz file, or a file in the MNIST format (idx)"


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Look at what lies at a path, and write a config block for it.

    Args:
        label: what is to be predicted: a column, an array, or a file of labels; None: guessed.
        user: who made an example, likewise; None: unknown.

    Raises:
        DataError: nothing there, or nothing that a loader reads.
    """
    if not path.exists():
        raise DataError(f"There is nothing at {path}: check the path.")
    for recognises, proposer in _PROPOSERS:
        if recognises(path):
            return proposer(path, label=label, user=user)
    raise DataError(f"{path} is of no kind that can be described: give {_KINDS}, or write a loader.")
