"""Images in folders named by their class."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpriv.data.dataset import Dataset, IntArray, Normalisation
from fedpriv.data.sources.files import FilePart, check_distinct, dataset_from_files, resolve_folder
from fedpriv.data.sources.pixels import Channels, open_image, stack
from fedpriv.data.sources.split import TestBy
from fedpriv.errors import ConfigError, DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}


def images(
    *,
    root: str | None,
    path: str | None,
    test_path: str | None,
    user_folders: bool,
    user_pattern: str | None,
    channels: Channels,
    size: Sequence[int] | None,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    scale: float,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Image files, x uint8 (n, channels, height, width); classes are numbered in the order of their folders' names.

    Files are recognised by suffix; others are ignored, as is everything whose name starts with a dot.

    Args:
        root: folder where relative paths start; None: the current one.
        path: folder of ``CLASS/FILE``, or ``USER/CLASS/FILE`` with ``user_folders``.
        test_path: such a folder with the test images; None: ``test_fraction`` of ``path``.
        user_folders: the first level of folders is who made the images.
        user_pattern: regular expression on the file's name; its first group is the user, e.g. ``^(.+)_``.
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to; None: images have one size already.
        test_by: ``example``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        scale, mean, std: public constants, see ``Normalisation``.

    Raises:
        DataError: no images, fewer than two classes, a file that is no image, sizes that differ.
        ConfigError: no folder named, or settings that contradict each other.
    """
    if user_folders and user_pattern is not None:
        raise ConfigError("data.user_folders and data.user_pattern both say who the users are: set one.")
    pattern = _compiled(user_pattern)
    folder = resolve_folder(path=path, root=root, key="data.path")
    found = find_images(folder, user_folders=user_folders, pattern=pattern)
    classes = sorted({image.kind for image in found})
    if len(classes) < 2:
        raise DataError(f"{folder} has one class folder only ({classes[0]}): there is nothing to learn.")

    def read(images_found: Sequence[ImageFile]) -> FilePart:
        opened = ((str(image.file), open_image(image.file)) for image in images_found)
        return FilePart(
            x=stack(opened, count=len(images_found), channels=channels, size=size),
            labels=np.array([classes.index(image.kind) for image in images_found], np.int64),
            users=_user_ids(images_found),
            label_source=f"The class folders of {folder}",
        )

    def read_test() -> FilePart:
        test_folder = resolve_folder(path=test_path, root=root, key="data.test_path")
        check_distinct([folder, test_folder])
        test = find_images(test_folder, user_folders=user_folders, pattern=None)
        if unknown := {image.kind for image in test} - set(classes):
            raise DataError(
                f"{test_folder} has the class folder {min(unknown)!r}, which {folder} has not: give both the same."
            )
        return read(test)

    return dataset_from_files(
        train=read(found),
        read_test=None if test_path is None else read_test,
        num_classes=len(classes),
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by=test_by,
        public=public,
        rng=rng,
    )


@dataclass(frozen=True)
class ImageFile:
    """Attributes: ``kind``, the class; ``user``, None where unknown."""

    file: Path
    kind: str
    user: str | None


def find_images(folder: Path, *, user_folders: bool, pattern: re.Pattern[str] | None) -> list[ImageFile]:
    """All images, by path.

    Raises:
        DataError: no class folders, or one without images.
    """
    layout = f"{folder}/{'USER/' if user_folders else ''}CLASS/*.png"
    owners = _folders(folder) if user_folders else [folder]
    kinds = [(owner, kind) for owner in owners for kind in _folders(owner)]
    if not kinds:
        hint = " (or set data.user_folders=false)" if user_folders and owners else ""
        raise DataError(f"{folder} has no class folders: images are looked for in {layout}{hint}.")
    found = []
    for owner, kind in kinds:
        for file in _visible(kind):
            if file.is_file() and file.suffix.lower() in SUFFIXES:
                user = owner.name if user_folders else _user_of(file, pattern)
                found.append(ImageFile(file=file, kind=kind.name, user=user))
    if empty := {kind.name for _, kind in kinds} - {image.kind for image in found}:
        example = next(kind for _, kind in kinds if kind.name in empty)
        hint = " For path/USER/CLASS/FILE set data.user_folders=true." if _folders(example) else ""
        raise DataError(
            f"The class folder {example} has no images ({', '.join(sorted(SUFFIXES))}): add some, or remove it.{hint}"
        )
    return found


def _folders(folder: Path) -> list[Path]:
    return [inner for inner in _visible(folder) if inner.is_dir()]


def _visible(folder: Path) -> list[Path]:
    return sorted((inner for inner in folder.iterdir() if not inner.name.startswith(".")), key=lambda p: p.name)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.user_pattern={pattern!r} is no regular expression: {error}.") from error
    if compiled.groups < 1:
        raise ConfigError(f"data.user_pattern={pattern!r} has no group: put the user's part in (), e.g. '^(.+)_'.")
    return compiled


def _user_of(file: Path, pattern: re.Pattern[str] | None) -> str | None:
    if pattern is None:
        return None
    match = pattern.search(file.name)
    if match is None or match[1] is None:
        raise DataError(f"data.user_pattern={pattern.pattern!r} finds no user in the name of {file}.")
    return match[1]


def _user_ids(found: Sequence[ImageFile]) -> IntArray | None:
    """Users numbered in the order of their names."""
    names = [image.user for image in found if image.user is not None]
    return np.unique(names, return_inverse=True)[1].astype(np.int64) if names else None
