"""Which settings runs tried: what differs between their configs, and which runs differ in their seeds only."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from .run import Run
from .statistics import Interval, mean_interval

PURPOSES = ("data", "sampling", "model", "noise")
# What may differ between two runs of one result.
WITHOUT_EFFECT = frozenset(
    ("name", "workers", "clients_per_node", "output_dir", "force", "runtime", "tracking", "attack")
)
_SEEDS = frozenset(("seed", "seeds"))
SOLVED_BY = ("privacy.", "training.", "tuning.", "strategy.")
"""Keys of how a problem is solved."""
_NOT_SAID = WITHOUT_EFFECT | _SEEDS
# The key of a group that says which choice was made; its other keys are the choice's own.
_CHOICE = {"privacy": "privacy.mechanism", "sampling": "sampling.kind", "strategy": "strategy.algorithm"}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Runs of one experiment that differ in nothing but their seeds.

    Attributes:
        config: dotted key -> value, of the keys that differ between the settings.
        label: the same in an experiment's words, such as ``privacy.epsilon=4``.
        runs: at least one a combination of seeds; what adds no noise may come several times, by noise seeds.
    """

    config: Mapping[str, Any]
    label: str
    runs: tuple[Run, ...]

    @property
    def epsilon(self) -> float | None:
        """The largest of its runs; None where one of them claims nothing."""
        return _largest(run.epsilon for run in self.runs)

    @property
    def by_seed(self) -> dict["Seeds", float]:
        """The headline metric by seeds, of the runs that have one."""
        return self.measured(self.runs[0].headline)

    def measured(self, metric: str) -> dict["Seeds", float]:
        """A metric of ``run.json`` by seeds, of the runs that have it."""
        return self.read(lambda run: run.record.metrics.get(metric))

    def read(self, measure: Callable[[Run], float | None]) -> dict["Seeds", float]:
        """A figure by seeds, of the runs that have it."""
        found: dict[Seeds, float] = {}
        for run in self.runs:
            if (value := measure(run)) is not None:
                found.setdefault(seeds_of(run), value)
        return found

    @property
    def interval(self) -> Interval | None:
        """Of the headline metric over the seeds; None where no run has it."""
        return mean_interval(list(self.independent.values())) if self.by_seed else None

    @property
    def independent(self) -> dict[Any, float]:
        """The headline metric by what is independent: runs that share the coarsest seed that varies are one mean."""
        return averaged(self.by_seed.items(), by=coarsest(self.by_seed))

    @property
    def varied(self) -> tuple[str, ...]:
        """The purposes whose seeds differ between its runs: what its interval speaks of."""
        seeds = [seeds_of(run) for run in self.runs]
        return tuple(name for n, name in enumerate(PURPOSES) if len({s[n] for s in seeds}) > 1)


Seeds = tuple[Any, ...]
"""Of data, sampling, model and noise; that of the noise is None where none is added."""


def without_privacy(run: Run) -> bool:
    """Whether nothing was clipped or noised (``privacy=none``)."""
    return (run.config.get("privacy") or {}).get("mechanism") == "none"


def without_noise(run: Run) -> bool:
    """Whether the config asks for no noise: without privacy, or clipping alone."""
    privacy = run.config.get("privacy") or {}
    return without_privacy(run) or privacy.get("epsilon") == math.inf or privacy.get("noise_multiplier") == 0


def seeds_of(run: Run) -> Seeds:
    """The seeds that decided a run."""
    config, own = run.config, run.config.get("seeds") or {}
    found = [config["seed"] if own.get(purpose) is None else own[purpose] for purpose in PURPOSES]
    if found[-1] == "secret":
        found[-1] = f"secret of {run.record.run_id}"  # nobody else's
    return (*found[:-1], None if without_noise(run) else found[-1])


def coarsest(seeds: Iterable[Seeds]) -> int | None:
    """Index of the first purpose whose seeds vary; None: there is one combination."""
    known = list(seeds)
    return next((n for n in range(len(PURPOSES)) if len({each[n] for each in known}) > 1), None)


def averaged(values: Iterable[tuple[Seeds, float]], *, by: int | None) -> dict[Any, float]:
    """Means of the values whose seeds agree in purpose ``by``; of all where it is None."""
    groups: dict[Any, list[float]] = {}
    for seeds, value in values:
        groups.setdefault(None if by is None else seeds[by], []).append(value)
    return {seed: math.fsum(found) / len(found) for seed, found in groups.items()}


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of everything that changes a result, seeds apart; lists and empty mappings are values."""
    said = {key: value for key, value in config.items() if key not in _NOT_SAID}
    tampering = {name: spec for name, spec in (config.get("attack") or {}).items() if "attackers" in spec}
    return dict(_leaves({**said, **({"attack": tampering} if tampering else {})}, ""))


def problem(run: Run) -> str:
    """What is learned from which clients: all of a config that privacy, training and strategy do not say."""
    said = {key: value for key, value in flat(run.config).items() if not key.startswith(SOLVED_BY)}
    return json.dumps(said, sort_keys=True, default=str)


def swept_keys(runs: Iterable[Run]) -> list[str]:
    """The config keys that differ between runs, or that only some have; seeds and what changes no result apart."""
    return _differing([flat(run.config) for run in runs])


def choices(run: Run, keys: Iterable[str]) -> dict[str, Any]:
    """What a run's config says to these keys; None where it has no such key."""
    known = flat(run.config)
    return {key: known.get(key) for key in keys}


def settings(runs: Iterable[Run]) -> list[Setting]:
    """Runs grouped by everything in their configs but seeds, in the order in which they come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(flat(run.config), sort_keys=True, default=str), []).append(run)
    members = [tuple(group) for group in groups.values()]
    configs = [flat(group[0].config) for group in members]
    keys = _differing(configs)
    return [
        Setting(config={key: own.get(key) for key in keys}, label=said, runs=group)
        for own, said, group in zip(configs, labels(configs, keys), members, strict=True)
    ]


def in_words(value: Any) -> str:
    """A config's value as one would type it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")


def labels(configs: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Each of these configs (all ``flat``) in the words of these keys.

    A choice's own keys are said only where they differ between configs of that choice.
    """
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for config in configs:
        for group in {key.split(".")[0] for key in keys}:
            alike.setdefault(_chosen(config, group), []).append(config)
    differing = {chosen: set(_differing(some)) for chosen, some in alike.items()}
    return [" ".join(_words(config, keys, differing)) or "all alike" for config in configs]


def _words(
    config: Mapping[str, Any], keys: Sequence[str], differing: Mapping[tuple[str, str], set[str]]
) -> Iterable[str]:
    for key in keys:
        group = key.split(".")[0]
        if key == _choice_key(group):
            yield f"{group}={in_words(config.get(key)).rpartition('.')[2]}"
        elif key in differing[_chosen(config, group)]:
            yield f"{key}={in_words(config.get(key))}"


def _choice_key(group: str) -> str:
    return _CHOICE.get(group, f"{group}._target_")


def _chosen(config: Mapping[str, Any], group: str) -> tuple[str, str]:
    return group, str(config.get(_choice_key(group)))


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for config in configs for key in config)
    missing = object()
    return [
        key
        for key in keys
        if any(_unlike(configs[0].get(key, missing), config.get(key, missing)) for config in configs[1:])
    ]


def _unlike(left: Any, right: Any) -> bool:
    return bool(left != right) or isinstance(left, bool) != isinstance(right, bool)


def _leaves(value: Any, prefix: str) -> Iterable[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _largest(epsilons: Iterable[float | None]) -> float | None:
    known = list(epsilons)
    claimed = [epsilon for epsilon in known if epsilon is not None]
    return max(claimed) if claimed and len(claimed) == len(known) else None
