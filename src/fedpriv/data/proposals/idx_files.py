"""Proposes a block for ``data=idx``: files in the MNIST format, found by their usual names."""

import gzip
from pathlib import Path

import numpy as np

from fedpriv.data.proposals.constants import constants
from fedpriv.data.proposals.labels import num_classes_key
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.yaml_text import scalar
from fedpriv.data.sources.idx_format import read_idx
from fedpriv.errors import DataError


def recognises(path: Path) -> bool:
    """Two zero bytes, a type and a number of dimensions, gzipped or not."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as unzipped:
                head = unzipped.read(4)
        except (OSError, EOFError):
            return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in (8, 9, 11, 12, 13, 14) and 0 < head[3] < 8


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """``path`` is the file of examples, ``label`` and ``user`` are files too."""
    x = read_idx(path)
    if x.ndim == 1:
        raise DataError(f"{path} holds labels: describe the file of examples, and name this one by --label.")
    labels = Path(label) if label is not None else _sibling(path, {"images": "labels", "idx3": "idx1"})
    if labels is None or not labels.is_file():
        raise DataError(f"There are no labels for {path}: name their file by --label FILE.")
    y = read_idx(labels)
    num_classes = num_classes_key(y, file=labels, name=labels.name) if y.ndim == 1 else ""
    test = _sibling(path, {"train": "t10k"})
    test_labels = None if test is None else _sibling(test, {"images": "labels", "idx3": "idx1"})
    scaled = constants(x)
    both = test is not None and test_labels is not None
    return Proposal(
        facts=[
            ("examples", f"{path} (idx), {len(x):,} of shape {' x '.join(map(str, x.shape[1:]))}, {x.dtype}"),
            ("labels", f"{labels}, shape {y.shape}, {len(np.unique(y)):,} distinct"),
            ("test", f"{test}, {test_labels}" if both else "not found: a part of the above is split off"),
        ],
        header=(),
        rows=(),
        notes=[] if y.ndim == 1 else ["The labels have several columns: set label_column."],
        source="idx",
        keys=(
            f"path: {scalar(str(path))}\nlabel: {scalar(str(labels))}\nuser: {scalar(user)}\n"
            + (f"test_path: {scalar(str(test))}\ntest_label: {scalar(str(test_labels))}\n" if both else "")
            + num_classes
            + scaled.keys
        ),
        fitted=scaled.fitted,
        model="logistic",
        natural=user is not None,
    )


def _sibling(path: Path, words: dict[str, str]) -> Path | None:
    """The file beside ``path`` whose name has other words, if there is one."""
    name = path.name
    for word, other in words.items():
        name = name.replace(word, other)
    found = path.with_name(name)
    return found if name != path.name and found.is_file() else None
