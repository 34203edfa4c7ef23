"""Examples divided among clients: arrays plus a client index; a million clients cost one integer each."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from fedpriv.data.dataset import Array, Dataset, Examples, IntArray, Normalisation, Targets
from fedpriv.errors import ConfigError

__all__ = ["ClientIndex", "Dataset", "Examples", "FederatedData", "Normalisation", "Partition", "federate"]

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class ClientIndex:
    """Which examples each client holds, as compressed sparse rows.

    Args:
        offsets: int64, shape (clients + 1,); client k holds ``indices[offsets[k]:offsets[k + 1]]``.
        indices: int64, rows of the training examples.
    """

    offsets: IntArray
    indices: IntArray

    @classmethod
    def of(cls, assignment: IntArray, num_clients: int) -> "ClientIndex":
        """From a client id per example (-1: no client's); a client's examples keep their order."""
        order = np.argsort(assignment, kind="stable")
        used = int(np.count_nonzero(assignment >= 0))
        sizes = np.bincount(assignment[assignment >= 0], minlength=num_clients)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        return cls(offsets=offsets, indices=order[len(order) - used :].astype(np.int64, copy=False))

    def __getitem__(self, client: int) -> IntArray:
        if not 0 <= client < len(self.offsets) - 1:
            raise IndexError(f"client {client} of {len(self.offsets) - 1}")
        return self.indices[self.offsets[client] : self.offsets[client + 1]]

    @property
    def sizes(self) -> IntArray:
        """Examples per client, int64, shape (clients,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False, kw_only=True)
class FederatedData:
    """A dataset divided among clients 0 ... num_clients - 1; built by ``federate``.

    Args:
        train: all clients' examples; those in neither index belong to nobody.
        test: the server's examples.
        clients: what each client trains on.
        holdout: what each client keeps back for its own evaluation, or None; disjoint from ``clients``.
        held_out_clients: ids, int64, ascending, of clients that are never trained.
        users: an integer id per training example, or None.
        num_classes, normalisation, groups, group_names, public, targets, num_tokens, label_range, caveats: as in
            ``Dataset``.
    """

    train: Examples
    test: Examples
    clients: ClientIndex
    holdout: ClientIndex | None
    held_out_clients: IntArray
    users: Array | None
    targets: Targets
    num_classes: int | None
    normalisation: Normalisation | None
    groups: Mapping[str, Array]
    group_names: Mapping[str, Sequence[str]]
    public: bool
    num_tokens: int | None
    label_range: tuple[float, float] | None
    caveats: tuple[str, ...]

    @property
    def offsets(self) -> IntArray:
        """Row pointers of the client index, int64, shape (num_clients + 1,)."""
        return self.clients.offsets

    @property
    def indices(self) -> IntArray:
        """Rows of the training examples, client after client, int64."""
        return self.clients.indices

    @property
    def num_clients(self) -> int:
        """All clients, those that are held out included."""
        return len(self.clients.offsets) - 1

    @cached_property
    def client_sizes(self) -> IntArray:
        """Training examples per client (its holdout not counted), int64, shape (num_clients,)."""
        return self.clients.sizes

    @cached_property
    def population_ids(self) -> IntArray:
        """Ids of the clients that may be trained, int64, ascending."""
        return np.setdiff1d(np.arange(self.num_clients), self.held_out_clients, assume_unique=True)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, e.g. (1, 28, 28)."""
        return self.train.x.shape[1:]

    def client(self, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Its training examples, newly allocated: x (n, *input_shape), normalised; y as in ``Dataset``.

        x is float32, or int64 where examples are tokens.
        """
        return self._gather(self.clients[client])

    def gathered(self, clients: Sequence[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """As ``client`` for each of them, read together: views of one allocation."""
        if not len(clients):
            return []
        parts = [self.clients[client] for client in clients]
        x, y = self._gather(np.concatenate(parts))
        sizes = [part.shape[0] for part in parts]
        return list(zip(x.split(sizes), y.split(sizes), strict=True))

    def client_holdout(self, client: int) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``client``, for the examples it keeps back; none (n = 0) where there is no holdout."""
        return self._gather(self.clients.indices[:0] if self.holdout is None else self.holdout[client])

    def names_of(self, attribute: str) -> tuple[str, ...]:
        """What the groups 0, 1, ... of a sensitive attribute are called."""
        known = self.group_names.get(attribute)
        return tuple(map(str, range(int(self.groups[attribute].max()) + 1) if known is None else known))

    def client_groups(self, client: int) -> torch.Tensor:
        """Groups of its training examples, int64 (n, attributes), in the order of ``groups``."""
        rows = self.clients[client]
        return torch.from_numpy(np.stack([group[rows] for group in self.groups.values()], axis=1).astype(np.int64))

    def test_groups(self, attribute: str) -> Array:
        """Groups of the test examples, (n,)."""
        return self.groups[attribute][len(self.train) :]

    def test_batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The test examples in their order, as ``client`` gives them; the last batch may be smaller."""
        for start in range(0, len(self.test), batch_size):
            batch = slice(start, start + batch_size)
            yield self._tensors(self.test.x[batch], self.test.y[batch])

    def sample(self, size: int) -> torch.Tensor:
        """``size`` examples of the kind and shape that a model gets, all zero."""
        dtype = torch.int64 if self.normalisation is None and self.train.x.dtype.kind in "biu" else torch.float32
        return torch.zeros((size, *self.input_shape), dtype=dtype)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of every array with dtype and shape, of the division, and of the constants."""
        digest = hashlib.sha256()
        for name, array in self._arrays():
            digest.update(f"{len(name)} {name} {array.dtype.str} {array.shape}\n".encode())
            rows = max(1, _BLOCK_BYTES * len(array) // max(1, array.nbytes))
            for start in range(0, len(array), rows):  # by blocks: a strided view is never copied whole
                block = np.ascontiguousarray(array[start : start + rows])
                digest.update(block.reshape(-1).view(np.uint8).data)
        constants = (self.normalisation, self.num_classes, self.public, self.num_tokens, self.label_range)
        digest.update(repr(constants).encode())
        if self.group_names:
            digest.update(repr(sorted((name, tuple(names)) for name, names in self.group_names.items())).encode())
        return digest.hexdigest()

    def _arrays(self) -> Iterator[tuple[str, Array]]:
        yield from (("train.x", self.train.x), ("train.y", self.train.y))
        yield from (("test.x", self.test.x), ("test.y", self.test.y))
        yield from (("offsets", self.offsets), ("indices", self.indices))
        if self.holdout is not None:
            yield from (("holdout.offsets", self.holdout.offsets), ("holdout.indices", self.holdout.indices))
        yield "held_out_clients", self.held_out_clients
        if self.users is not None:
            yield "users", self.users
        yield from ((f"groups.{name}", self.groups[name]) for name in sorted(self.groups))

    def _gather(self, rows: IntArray) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensors(self.train.x[rows], self.train.y[rows])

    def _tensors(self, x: Array, y: Array) -> tuple[torch.Tensor, torch.Tensor]:
        if self.normalisation is not None:
            x = self.normalisation.apply(x)
        return torch.from_numpy(_plain(x)), torch.from_numpy(_plain(y))


def _plain(array: Array) -> Array:
    """float32 or int64, newly allocated or at least of its own."""
    return array.astype(np.int64 if array.dtype.kind in "biu" else np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Partition:
    """What a partition function returns that also changes the features of the clients' examples.

    Args:
        assignment: client id per training example, -1 where nobody holds it.
        dataset: the dataset as the clients see it.
    """

    assignment: IntArray
    dataset: Dataset


def federate(
    dataset: Dataset,
    assignment: npt.NDArray[np.integer],
    *,
    num_clients: int | None,
    min_examples: int,
    holdout: npt.NDArray[np.bool_] | None = None,
    held_out_clients: Sequence[int] = (),
) -> FederatedData:
    """Divide a dataset among clients.

    Args:
        dataset: the examples.
        assignment: client id per training example, -1 for examples that nobody holds.
        num_clients: how many clients there are; None: as many as ``assignment`` names.
        min_examples: the least that a client may hold; 0 allows empty clients.
        holdout: training examples that their client keeps back for its own evaluation (a mask), if any.
        held_out_clients: clients that are never trained, if any.

    Raises:
        ConfigError: an assignment that doesn't fit the examples, or clients that hold too few.
    """
    if assignment.shape != (len(dataset.train),) or assignment.dtype.kind not in "iu":
        raise ConfigError(
            f"The partition gave an array of shape {assignment.shape} and dtype {assignment.dtype} for "
            f"{len(dataset.train)} training examples: it must give one client id (an integer) per example."
        )
    clients = int(assignment.max()) + 1 if num_clients is None else num_clients
    if assignment.min() < -1 or assignment.max() >= clients or clients < 1:
        raise ConfigError(
            f"The partition gave client ids from {assignment.min()} to {assignment.max()} for {clients} "
            "clients: ids are 0 ... num_clients - 1, and -1 for examples that nobody holds."
        )
    held_out = np.unique(np.asarray(held_out_clients, dtype=np.int64))
    if held_out.size and (held_out[0] < 0 or held_out[-1] >= clients):
        raise ConfigError(f"Held-out clients {held_out.tolist()} are not all among the {clients} clients.")
    if holdout is not None and (holdout.shape != assignment.shape or holdout.dtype != np.bool_):
        raise ConfigError("The clients' holdout must be a boolean mask with one entry per training example.")

    kept_back = np.zeros(assignment.shape, np.bool_) if holdout is None else holdout
    index = ClientIndex.of(_masked(assignment, kept_back), clients)
    _check_sizes(index.sizes, min_examples)
    return FederatedData(
        train=dataset.train,
        test=dataset.test,
        clients=index,
        holdout=None if holdout is None else ClientIndex.of(_masked(assignment, ~kept_back), clients),
        held_out_clients=held_out,
        users=dataset.users,
        targets=dataset.targets,
        num_classes=dataset.num_classes,
        normalisation=dataset.normalisation,
        groups=dict(sorted(dataset.groups.items())),
        group_names=dict(dataset.group_names),
        public=dataset.public,
        num_tokens=dataset.num_tokens,
        label_range=dataset.label_range,
        caveats=dataset.caveats,
    )


def _masked(assignment: npt.NDArray[np.integer], mask: npt.NDArray[np.bool_]) -> IntArray:
    """The assignment with -1 where the mask is True."""
    masked = assignment.astype(np.int64)
    masked[mask] = -1
    return masked


def _check_sizes(sizes: IntArray, min_examples: int) -> None:
    small = np.flatnonzero(sizes < min_examples)
    if small.size:
        raise ConfigError(
            f"{small.size} of {len(sizes)} clients hold fewer than {min_examples} training examples "
            f"(client {small[0]} holds {sizes[small[0]]}). Use fewer clients (partition.num_clients), "
            "a milder partition, or a lower partition.min_examples (0 allows empty clients)."
        )
