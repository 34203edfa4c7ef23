"""From a mechanism, or the flat arguments of one of ours, to a subject."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_args

import numpy as np

from fedpriv.accounting.groups import Groups
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.errors import ConfigError
from fedpriv.privacy import ClippingGrid, CohortSampler, Mechanism, PoissonBatches, make_sampler
from fedpriv.privacy.mechanisms import (
    CentralAdaptive,
    CentralGaussian,
    CentralPerLayer,
    DistributedGaussian,
    ExampleGaussian,
    FtrlBanded,
    FtrlTree,
    LocalGaussian,
    LocalLaplace,
)
from fedpriv.privacy.pairwise_masks import PairwiseMasks
from fedpriv.streams import Streams

from .calling import checked_call
from .client_level import ClientLevelSubject
from .example_level import ExampleLevelSubject, PrivateEngine
from .mechanism_subject import MakeMechanism
from .scripted_federation import streams_of
from .subject import Subject
from .two_layers import TwoLayers

# The one place of defaults: a federation small enough to measure in seconds.
_SAMPLING: dict[str, Any] = {"sampling": "poisson", "population": 100, "cohort": None, "separation": None, "cap": None}
_IN_TURNS: dict[str, Any] = {**_SAMPLING, "sampling": "round_robin", "separation": 4}
_LARGEST = 2**15  # numbers of an update that is played
_ROUNDS = 2**14  # that share noise
_EXAMPLES: dict[str, Any] = {"num_examples": 32, "batch_size": 8, "local_epochs": 1, "engine": "vectorized"}
_DEFAULTS: dict[Any, dict[str, Any]] = {
    CentralGaussian: {"noise_multiplier": 1.0, "clipping_norm": 1.0, **_SAMPLING},
    CentralAdaptive: {
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "target_quantile": 0.5,
        "clipping_lr": 0.2,
        "count_noise_std": 1.0,
        **_SAMPLING,
    },
    CentralPerLayer: {"noise_multiplier": 1.0, "clipping_norm": 1.0, **_SAMPLING},
    FtrlTree: {"noise_multiplier": 1.0, "clipping_norm": 1.0, **_IN_TURNS},
    FtrlBanded: {"noise_multiplier": 1.0, "clipping_norm": 1.0, "bands": 4, **_IN_TURNS},
    DistributedGaussian: {
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "survivors": 13,
        "bits": 30,
        "granularity": 2.0**-20,
        **_SAMPLING,
        "sampling": "all",
        "population": 25,
    },
    LocalGaussian: {"noise_multiplier": 1.0, "clipping_norm": 1.0, **_SAMPLING},
    LocalLaplace: {"noise_multiplier": 1.0, "clipping_norm": 1.0, **_SAMPLING},
    ExampleGaussian: {"noise_multiplier": 1.0, "max_grad_norm": 1.0, **_SAMPLING, **_EXAMPLES},
}
_COHORT = 20  # of a sampling that needs one
_OFFERED = ("streams", "sampler")
_WORDS = ("sampling", "engine")


def is_ours(target: Any) -> bool:
    """Whether flat arguments are enough to build it."""
    return inspect.isclass(target) and target in _DEFAULTS


def is_mechanism(found: Any) -> bool:
    """Whether it is a ``fedpriv.privacy.Mechanism``, or the class of one."""
    parts = ("local_noise_multipliers", "encode", "decode", "entries", "planned")
    return all(callable(getattr(found, part, None)) for part in parts)


def makes_mechanism(target: Any) -> bool:
    """Whether it is a class of mechanisms, or a function that asks for what only they need."""
    if inspect.isclass(target):
        return is_mechanism(target)
    return inspect.isroutine(target) and bool(set(_OFFERED) & set(inspect.signature(target).parameters))


def build(target: Any, arguments: Mapping[str, Any], *, name: str) -> Subject:
    """One of our mechanisms over a federation of these clients.

    Raises:
        ConfigError: an argument that it does not take, or values that do not go together.
    """
    known = _DEFAULTS[target]
    if unknown := [key for key in arguments if key not in known]:
        shown = ", ".join(f"{key}={'...' if value is None else value}" for key, value in known.items())
        raise ConfigError(f"{name} takes no {unknown[0]}. It takes: {shown}.")
    given = {**known, **arguments}
    for key, value in given.items():
        if key not in _WORDS and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{name}: {key}={value} must be a number.")
    return _subject(_maker(target, given), given, name=name)


def wrap(
    make: Callable[..., Any], arguments: Mapping[str, Any], claims: Mapping[str, Any], *, name: str
) -> Subject:
    """A mechanism of somebody else's making.

    Args:
        make: the mechanism's class or factory; is offered ``streams`` and ``sampler`` where it has such parameters.
            Without ``streams`` the kit cannot set its coins, and measures by averages.
        claims: the federation around it, as ``claim.population=100``.
    """
    known = {**_SAMPLING, **_EXAMPLES}
    if unknown := [key for key in claims if key not in known]:
        raise ConfigError(f"claim.{unknown[0]} says nothing of a mechanism. Known: {', '.join(known)}.")
    given = {**known, **claims}
    asked = set(_OFFERED) & set(inspect.signature(make).parameters)

    def made(streams: Streams, sampler: CohortSampler) -> Mechanism:
        offered = {"streams": streams, "sampler": sampler}
        mechanism: Mechanism = checked_call(make, {**{key: offered[key] for key in asked}, **arguments}, name=name)
        return mechanism

    return _subject(made, given, name=name)


def _subject(make: MakeMechanism, given: Mapping[str, Any], *, name: str) -> Subject:
    population, kind = int(given["population"]), given["sampling"]
    cohort = given["cohort"]
    if cohort is None and kind in ("poisson", "capped_poisson", "fixed_size"):
        cohort = min(_COHORT, population)
    law = cohort_sampling(
        kind=kind, population=population, cohort=cohort, separation=given["separation"], cap=given["cap"]
    )
    clients = np.arange(population)

    def sampler(streams: Streams) -> CohortSampler:
        return make_sampler(law, clients=clients, streams=streams)

    shared: dict[str, Any] = {"name": name, "make": make, "make_sampler": sampler, "population": population}
    streams = streams_of(0)
    mechanism = make(streams, sampler(streams))
    if not is_mechanism(mechanism):
        raise ConfigError(f"{name} makes a {type(mechanism).__name__}, not a fedpriv.privacy.Mechanism.")
    if mechanism.unit is None:
        raise ConfigError(f"{name} protects nothing: there is no claim to measure.")
    if mechanism.unit == "example":
        if given["engine"] not in get_args(PrivateEngine):
            raise ConfigError(f"engine={given['engine']}: choose one of {', '.join(get_args(PrivateEngine))}.")
        examples = {"num_examples": int(given["num_examples"]), "engine": given["engine"]}
        return ExampleLevelSubject(**shared, batches=_batches(given), **examples)
    return ClientLevelSubject(**shared)


def _maker(target: Any, given: Mapping[str, Any]) -> MakeMechanism:
    summands, noise = int(given["population"]), float(given["noise_multiplier"])
    if target in (LocalGaussian, LocalLaplace):
        norm, multipliers = float(given["clipping_norm"]), np.full(summands, noise)
        return lambda streams, sampler: target(clipping_norm=norm, noise_multipliers=multipliers, streams=streams)
    if target is not ExampleGaussian:
        own = _own_arguments(target, given, summands=summands)
        return lambda streams, sampler: own(sampler=sampler, noise_multiplier=noise, streams=streams)
    batches, clients = _batches(given), int(given["population"])
    return lambda streams, sampler: ExampleGaussian(
        max_grad_norm=float(given["max_grad_norm"]),
        layer_norms={},
        rates=np.full(clients, batches.rate(given["num_examples"])),
        steps=np.full(clients, batches.steps(given["num_examples"])),
        noise_multipliers=np.full(clients, float(given["noise_multiplier"])),
    )


def _own_arguments(target: Any, given: Mapping[str, Any], *, summands: int) -> Callable[..., Mechanism]:
    """A central mechanism without what all of them take."""
    norm = float(given["clipping_norm"])
    if target is CentralAdaptive:
        return partial(
            CentralAdaptive,
            initial_norm=norm,
            summands=summands,
            target_quantile=float(given["target_quantile"]),
            clipping_lr=float(given["clipping_lr"]),
            count_noise_std=float(given["count_noise_std"]),
        )
    if target is DistributedGaussian:
        return partial(_distributed, given, clients=summands)
    if target in (FtrlTree, FtrlBanded):
        bands = {"bands": int(given["bands"])} if target is FtrlBanded else {}
        groups = Groups(rounds=2**60, restart_every=_ROUNDS)
        return partial(target, grid=ClippingGrid(clipping_norm=norm, summands=summands), groups=groups, **bands)
    if target is CentralPerLayer:
        return partial(TwoLayers, clipping_norm=norm, summands=summands)
    return partial(CentralGaussian, grid=ClippingGrid(clipping_norm=norm, summands=summands))


def _distributed(
    given: Mapping[str, Any], *, clients: int, sampler: CohortSampler, noise_multiplier: float, streams: Streams
) -> Mechanism:
    return DistributedGaussian(
        clipping_norm=float(given["clipping_norm"]),
        size=_LARGEST,
        cohort=round(sampler.law.cohort),
        survivors=int(given["survivors"]),
        granularity=float(given["granularity"]),
        num_clients=clients,
        noise_multiplier=noise_multiplier,
        secure_sum=PairwiseMasks(bits=int(given["bits"]), streams=streams),
        streams=streams,
    )


def _batches(given: Mapping[str, Any]) -> PoissonBatches:
    return PoissonBatches(batch_size=int(given["batch_size"]), local_epochs=int(given["local_epochs"]))
