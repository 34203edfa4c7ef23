"""Large images that are tables of small ones: thousands of examples in one file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fedpriv.data.checks import check_labels, check_length, check_users
from fedpriv.data.dataset import Array, Dataset, IntArray, Normalisation
from fedpriv.data.sources.files import FilePart, check_distinct, dataset_from_files, resolve
from fedpriv.data.sources.npy_format import read_npy
from fedpriv.data.sources.pixels import Channels, open_image, pixels
from fedpriv.data.sources.split import TestBy
from fedpriv.errors import ConfigError, DataError


def sheets(
    *,
    root: str | None,
    paths: Sequence[str] | None,
    label: str | None,
    user: str | None,
    count: int | None,
    test_paths: Sequence[str] | None,
    test_label: str | None,
    test_count: int | None,
    tile: Sequence[int],
    channels: Channels,
    test_fraction: float,
    test_by: TestBy,
    public: bool,
    num_classes: int | None,
    scale: float,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    rng: np.random.Generator,
) -> Dataset:
    """Tiles of large images, x uint8 (n, channels, height, width): row by row, sheet after sheet.

    Args:
        root: folder where relative paths start; None: the current one.
        paths: the sheets, in order.
        label: .npy file of class labels, (n,), in the order of the tiles.
        user: .npy file of integer user ids, likewise; None: each sheet is a user of its own.
        count: take this many of the first tiles, labels and users (later sheets are not read); None: all, and then
            there must be as many labels as tiles, but for unused tiles at the end of the last sheet.
        test_paths, test_label, test_count: the same for the test; None: ``test_fraction`` of the above.
        tile: (height, width) of a tile, in pixels.
        channels: 1 for grey, 3 for RGB.
        test_by: ``example``, or ``user``: whole users are for the test.
        public: whether everybody may see these examples.
        num_classes: None: labels must be exactly 0 ... K-1.
        scale, mean, std: public constants, see ``Normalisation``.

    Raises:
        DataError: a missing or unsuitable file, or numbers that differ.
        ConfigError: files that aren't named, or only one of the two for the test.
    """
    if (test_paths is None) != (test_label is None):
        raise ConfigError("Set both data.test_paths and data.test_label, or neither (data.test_fraction is split off).")
    if len(tile) != 2 or min(tile) < 1:
        raise ConfigError(
            f"data.tile={list(tile)}: give [height, width] of one tile in pixels, e.g. data.tile=[32,32]."
        )

    named = {"data.paths": paths or (), "data.test_paths": test_paths or ()}
    check_distinct([resolve(path=name, root=root, key=key) for key, names in named.items() for name in names])

    def read(
        names: Sequence[str] | None, labels: str | None, users: str | None, wanted: int | None, prefix: str
    ) -> FilePart:
        if not names or (wanted is not None and wanted < 1):
            raise ConfigError(f"data.{prefix}paths needs a list of files, and data.{prefix}count is null or >= 1.")
        files = [resolve(path=name, root=root, key=f"data.{prefix}paths") for name in names]
        label_file = resolve(path=labels, root=root, key=f"data.{prefix}label")
        source = f"The labels in {label_file}"
        y = check_labels(read_npy(label_file), where=source, num_classes=num_classes)
        n = len(y) if wanted is None else wanted
        if n > len(y):
            raise DataError(f"{source} are {len(y)}, but data.{prefix}count asks for {n}.")
        x, owner = _collect(files, n, tile=tile, channels=channels, exact=wanted is None, key=f"data.{prefix}")
        if users is not None:
            user_file = resolve(path=users, root=root, key="data.user")
            owner = check_users(read_npy(user_file), where=f"The user ids in {user_file}")
            check_length(f"The user ids in {user_file}", len(owner), len(y))
        return FilePart(x=x, labels=y[:n], users=owner[:n], label_source=source)

    return dataset_from_files(
        train=read(paths, label, user, count, ""),
        read_test=None if test_paths is None else lambda: read(test_paths, test_label, None, test_count, "test_"),
        num_classes=num_classes,
        normalisation=Normalisation(scale=scale, mean=mean, std=std),
        test_fraction=test_fraction,
        test_by=test_by,
        public=public,
        rng=rng,
    )


def _collect(
    files: Sequence[Path], count: int, *, tile: Sequence[int], channels: Channels, exact: bool, key: str
) -> tuple[Array, IntArray]:
    """The first ``count`` tiles, and the number of the sheet that each comes from; no more sheets are read."""
    x = np.empty((count, channels, *tile), np.uint8)
    sheet_of = np.empty(count, np.int64)
    filled = 0
    for number, tiles in enumerate(_tiles(files, tile=tile, channels=channels)):
        taken = tiles[: count - filled]
        x[filled : filled + len(taken)] = taken
        sheet_of[filled : filled + len(taken)] = number
        filled += len(taken)
        if filled == count:
            if exact and number + 1 < len(files):
                raise DataError(
                    f"There are {count} labels for more tiles: {files[number + 1].name} would be left over. Check "
                    f"{key}label, or set {key}count to how many to take."
                )
            return x, sheet_of
    raise DataError(
        f"{key}paths have {filled} tiles for {count} labels: check {key}label and {key}paths, or set "
        f"{key}count={filled} to take the first labels only."
    )


def _tiles(files: Sequence[Path], *, tile: Sequence[int], channels: Channels) -> Iterator[Array]:
    """Each sheet's tiles, (n, channels, height, width)."""
    height, width = tile
    for file in files:
        sheet = pixels(open_image(file), name=str(file), channels=channels, size=None)
        _, sheet_height, sheet_width = sheet.shape
        rows, columns = sheet_height // height, sheet_width // width
        if (rows * height, columns * width) != (sheet_height, sheet_width):
            raise DataError(
                f"{file} is {sheet_height}x{sheet_width} (height x width), which tiles of {height}x{width} do not "
                "fill: check data.tile."
            )
        yield (
            sheet.reshape(channels, rows, height, columns, width)
            .transpose(1, 3, 0, 2, 4)
            .reshape(rows * columns, channels, height, width)
        )
