"""From the words of a sweep to its combinations, by Hydra's grammar: ``A,B``, ``choice(...)``, ``range(...)``."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ValueType

from fedpriv.config import parse
from fedpriv.errors import ConfigError

_HYDRA = ("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweeper.")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a sweep was asked: the overrides of Hydra's own plugins, those of all jobs, and those that are swept."""

    hydra: tuple[str, ...]
    fixed: tuple[str, ...]
    swept: tuple[str, ...]

    @staticmethod
    def of(overrides: Sequence[str]) -> "Words":
        """Sort them.

        Raises:
            ConfigError: an override that is none, or a key of Hydra's that has no effect on a sweep of fedpriv's.
        """
        hydra, fixed, swept = list[str](), list[str](), list[str]()
        for text in overrides:
            override = parse(text)
            key = str(override.key_or_group)
            if key.split(".")[0].split("/")[0] == "hydra":
                if not key.startswith(_HYDRA):
                    raise ConfigError(
                        f"{text}: of Hydra's own keys a sweep takes hydra/launcher, hydra/sweeper and what lies below "
                        "hydra.launcher and hydra.sweeper; output_dir=DIR says where runs go."
                    )
                hydra.append(text)
            else:
                (swept if override.is_sweep_override() else fixed).append(text)
        return Words(hydra=tuple(hydra), fixed=tuple(fixed), swept=tuple(swept))

    @property
    def sweeper(self) -> str:
        """The choice of ``hydra/sweeper``."""
        return self._choice("hydra/sweeper")

    @property
    def launcher(self) -> str:
        """The choice of ``hydra/launcher``."""
        return self._choice("hydra/launcher")

    def _choice(self, group: str) -> str:
        chosen = [text.partition("=")[2] for text in self.hydra if text.partition("=")[0] == group]
        return chosen[-1] if chosen else "basic"

    def says(self, key: str) -> bool:
        """Whether an override of Hydra's names ``key``."""
        return any(text.partition("=")[0].lstrip("+") == key for text in self.hydra)


def grid(swept: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination of the swept values, the last key fastest; one empty combination where nothing is swept.

    Raises:
        ConfigError: a sweep without a list of values.
    """
    return list(itertools.product(*(_values(text) for text in swept)))


def probes(swept: Sequence[str]) -> list[tuple[str, ...]]:
    """Combinations in which every value, or end of an interval, is met: what can be checked of a search before it."""
    axes = [_ends(text) or _values(text) for text in swept]
    first = [axis[0] for axis in axes]
    found = [(*first[:i], value, *first[i + 1 :]) for i, axis in enumerate(axes) for value in axis]
    return list(dict.fromkeys(found))


def _values(text: str) -> list[str]:
    override = parse(text)
    if not override.is_discrete_sweep() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(f"{text}: list the values, as in A,B or range(1,5). Intervals are for hydra/sweeper=optuna.")
    return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]


def _ends(text: str) -> list[str]:
    override = parse(text)
    if not override.is_interval_sweep():
        return []
    interval: Any = override.value()
    return [f"{override.get_key_element()}={end}" for end in (interval.start, interval.end)]
