"""Which proposer describes which kind of path."""

from collections.abc import Callable
from pathlib import Path

from fedpriv.data.proposals import idx_files, image_folder, npz_file, play, saved_dataset, table_file
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.errors import DataError

# (recognises, proposes), asked in this order; a proposer takes (path, label=, user=).
_PROPOSERS: tuple[tuple[Callable[[Path], bool], Callable[..., Proposal]], ...] = (
    (npz_file.recognises, npz_file.propose),
    (idx_files.recognises, idx_files.propose),
    (play.recognises, play.propose),
    (table_file.recognises, table_file.propose),
    (saved_dataset.recognises, saved_dataset.propose),
    (image_folder.recognises, image_folder.propose),
)
_KINDS = (
    "a CSV or Parquet table, an .npz file, a file in the MNIST format (idx), a folder of class folders of images, "
    "a play (blocks that start with a line NAME:), or a folder that save_to_disk wrote"
)


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
