"""Proposes a block for ``data=images``: folders of image files named by their class."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fedpriv.data.proposals.labels import NOTHING_TO_LEARN
from fedpriv.data.proposals.proposal import Proposal
from fedpriv.data.proposals.yaml_text import flow, scalar
from fedpriv.data.sources.image_folders import SUFFIXES, find_images
from fedpriv.data.sources.pixels import open_image
from fedpriv.errors import DataError

_LOOKED_AT = 200  # images that are opened, spread over the folder
_GREY = ("1", "L")


def recognises(path: Path) -> bool:
    """A folder with images two or three levels down."""
    return path.is_dir() and (next(_images(path, "*/*"), None) or next(_images(path, "*/*/*"), None)) is not None


def propose(path: Path, *, label: str | None, user: str | None) -> Proposal:
    """Classes are the folders of the images; a level above them is taken for users."""
    if label is not None or user is not None:
        raise DataError(f"{path}: folders say the class and the user of an image: leave out --label and --user.")
    by_user = next(_images(path, "*/*"), None) is None
    files = find_images(path, user_folders=by_user, pattern=None)
    classes = Counter(image.kind for image in files)
    if len(classes) < 2:
        raise DataError(f"{path} has images of one class only ({files[0].kind}): {NOTHING_TO_LEARN}.")
    users = {image.user for image in files} if by_user else set()
    seen = [open_image(image.file) for image in files[:: max(1, len(files) // _LOOKED_AT)]]
    sizes = Counter((image.height, image.width) for image in seen)
    size, grey = sizes.most_common(1)[0][0], all(image.mode in _GREY for image in seen)
    shown = ", ".join(f"{height} x {width}" for height, width in list(sizes)[:4]) + ", ..." * (len(sizes) > 4)
    resized = ["Images have several sizes: all are resized to the most frequent one."] if len(sizes) > 1 else []
    return Proposal(
        facts=[
            ("images", f"{path}, {len(files):,} files"),
            ("classes", f"{len(classes):,}"),
            *([("users", f"{len(users):,}")] if by_user else []),
            ("size", f"{shown} (height x width), {'grey' if grey else 'colour'}; of {len(seen):,} looked at"),
        ],
        header=("class", "images"),
        rows=[(name, f"{count:,}") for name, count in sorted(classes.items())],
        notes=resized,
        source="images",
        keys=(
            f"path: {scalar(str(path))}\nuser_folders: {scalar(by_user)}\nchannels: {1 if grey else 3}\n"
            f"size: {flow(size) if resized else 'null'}\n"
        ),
        fitted=False,
        model="lenet",
        natural=by_user,
    )


def _images(path: Path, pattern: str) -> Iterator[Path]:
    for file in path.glob(pattern):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.suffix.lower() in SUFFIXES and not hidden and file.is_file():
            yield file
