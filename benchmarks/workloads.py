"""What is benchmarked: clients with their examples, a model, a cohort, and who is protected.

Needs numpy and torch only, so that a peer's own environment can import it.
"""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DATA") or ROOT.parent / "shared" / "data")
"""Folder of the real data sets; ``DATA=DIR make bench`` names another."""
NUM_CLASSES = 10

Clients = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Of each client: x, float32, shape (n, ...), and y, int64, shape (n,)."""


@dataclass(frozen=True, kw_only=True)
class Random:
    """Standard normal examples with random labels, as many for each client.

    Attributes:
        population: number of clients.
        examples: of one client.
        shape: of one example.
    """

    population: int
    examples: int
    shape: tuple[int, ...]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All examples, client after client: float32 (n, *shape), int64 (n,)."""
        rng, n = np.random.default_rng(0), self.population * self.examples
        return rng.standard_normal((n, *self.shape), dtype=np.float32), rng.integers(0, NUM_CLASSES, n)

    def clients(self) -> Clients:
        x, y = (torch.from_numpy(array).split(self.examples) for array in self.arrays())
        return list(zip(x, y, strict=True))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The clients of one of fedpriv's experiments on real data.

    Attributes:
        experiment: its name in conf/experiment.
        overrides: what the benchmark changes in it.
        needs: a folder below ``DATA``; None: the data comes with a package.
    """

    experiment: str
    overrides: tuple[str, ...]
    needs: str | None

    @property
    def given(self) -> list[str]:
        """Hydra overrides that name the experiment and its data."""
        root = [] if self.needs is None else [f"data.root={DATA}"]
        return [f"experiment={self.experiment}", *self.overrides, *root]

    def clients(self) -> Clients:
        from fedpriv.config import compose
        from fedpriv.experiment.loading import load_data

        data = load_data(compose(self.given, config_dir=None))
        return [data.client(client) for client in data.population_ids.tolist()]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One column of the comparison. Clients take one epoch of plain SGD, or of DP-SGD where examples are protected.

    Attributes:
        protects: ``client``: updates are clipped and noised; ``example``: gradients are.
        cohort: clients of a round.
        clipping_norm: L2 bound of an update, or of an example's gradient.
        noise_multiplier: standard deviation of the noise over ``clipping_norm``.
        warm_up: rounds before those that are measured.
        rounds: measured rounds; some seconds of the bare loop.
    """

    name: str
    protects: Literal["client", "example"]
    data: Random | Preset
    model: Callable[[], nn.Module]
    cohort: int
    batch_size: int
    lr: float
    clipping_norm: float
    noise_multiplier: float
    warm_up: int
    rounds: int

    @property
    def is_of_images(self) -> bool:
        """Whether the channels_last memory format means anything."""
        return not isinstance(self.data, Random) or len(self.data.shape) == 3

    @property
    def missing(self) -> Path | None:
        """A folder that it needs and that is not there."""
        if isinstance(self.data, Random) or self.data.needs is None:
            return None
        folder = DATA / self.data.needs
        return None if folder.is_dir() else folder


def wide_cnn() -> nn.Module:
    """3x32x32 to 10 classes, 1,626,442 parameters."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 32, kernel_size=3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 64, kernel_size=3),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(12544, 128),
            relu3=nn.ReLU(),
            fc2=nn.Linear(128, NUM_CLASSES),
        )
    )


def small_cnn() -> nn.Module:
    """1x28x28 to 10 classes, 26,010 parameters: the MNIST net of Papernot et al. 2021."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, kernel_size=8, stride=2, padding=3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2, stride=1),
            conv2=nn.Conv2d(16, 32, kernel_size=4, stride=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2, stride=1),
            flatten=nn.Flatten(),
            fc1=nn.Linear(512, 32),
            relu3=nn.ReLU(),
            fc2=nn.Linear(32, NUM_CLASSES),
        )
    )


def softmax_regression() -> nn.Module:
    """64 features to 10 classes, 650 parameters."""
    return nn.Sequential(OrderedDict(fc=nn.Linear(64, NUM_CLASSES)))


_ALL = (
    Workload(
        name="W1",
        protects="client",
        data=Random(population=1000, examples=50, shape=(3, 32, 32)),
        model=wide_cnn,
        cohort=50,
        batch_size=10,
        lr=0.1,
        clipping_norm=0.4,
        noise_multiplier=1.0,
        warm_up=2,
        rounds=3,
    ),
    Workload(
        name="W2",
        protects="example",
        data=Random(population=100, examples=100, shape=(1, 28, 28)),
        model=small_cnn,
        cohort=20,
        batch_size=20,
        lr=0.1,
        clipping_norm=1.0,
        noise_multiplier=1.0,
        warm_up=2,
        rounds=20,
    ),
    Workload(
        name="W3",
        protects="client",
        data=Random(population=10_000, examples=20, shape=(64,)),
        model=softmax_regression,
        cohort=1000,
        batch_size=20,
        lr=0.1,
        clipping_norm=0.4,
        noise_multiplier=1.0,
        warm_up=2,
        rounds=40,
    ),
    Workload(
        name="mnist_writers",
        protects="client",
        # every cohort has 50 writers: then the bare loop has as much to do
        data=Preset(experiment="mnist_writers_client_dp", overrides=("sampling=fixed_size",), needs="mnist"),
        model=small_cnn,
        cohort=50,
        batch_size=20,
        lr=0.1,
        clipping_norm=1.0,
        noise_multiplier=1.0,
        warm_up=2,
        rounds=15,
    ),
    Workload(
        name="mnist5k",
        protects="example",
        data=Preset(experiment="mnist5k_example_dp", overrides=(), needs=None),
        model=small_cnn,
        cohort=10,
        batch_size=64,
        lr=0.5,
        clipping_norm=1.0,
        noise_multiplier=1.0,
        warm_up=2,
        rounds=20,
    ),
)
WORKLOADS = {workload.name: workload for workload in _ALL}
