"""What an experiment promises to one kind of unit: by which choice of noise, at which price, under which terms."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, final

import numpy as np

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.claims import CLAIMS, LEDGER_NAMES, Unit
from fedpriv.accounting.conventions import choose_delta
from fedpriv.accounting.guarantee import Guarantee, state_guarantee
from fedpriv.accounting.ledger import ReleaseEntry
from fedpriv.accounting.terms import Terms

from .choice import Choice, Setting
from .in_words import in_words


@final
@dataclass(frozen=True, kw_only=True)
class Promise:
    """Everything about one unit's epsilon.

    Args:
        mechanism: the choice of ``privacy`` as the config names it.
        unit: who is protected; None where nobody is.
        setting: of the experiment, with the epsilon, delta and noise that are asked for this unit.
        choice: of noise.
        caveats: what the experiment adds to what a guarantee never covers.
    """

    mechanism: str
    unit: Unit | None
    setting: Setting
    choice: Choice
    caveats: Sequence[str]

    @property
    def budget(self) -> float:
        """Epsilon that no release may exceed; ``inf`` for none."""
        epsilon = self.setting.config.privacy.epsilon
        return math.inf if epsilon is None else epsilon

    @property
    def budget_key(self) -> str:
        """Of the config."""
        both = len(LEDGER_NAMES[self.mechanism]) > 1
        return "privacy.example_epsilon" if both and self.unit == "example" else "privacy.epsilon"

    @property
    def noise_by_clients(self) -> bool:
        """Whether clients add this unit's noise, and each has an epsilon of its own."""
        return any(CLAIMS[name].trust_model != "central" for name in self._ledger_names)

    @property
    def _ledger_names(self) -> list[str]:
        return [name for name in LEDGER_NAMES[self.mechanism] if CLAIMS[name].unit == self.unit]

    @property
    def population(self) -> int:
        """Protected units: clients, or all clients' training examples together."""
        return self._num_examples if self.unit != "client" else self.setting.num_clients

    @cached_property
    def delta(self) -> tuple[float, str]:
        """delta and the rule that it comes from."""
        privacy = self.setting.config.privacy
        return choose_delta(privacy.delta, population=self.population, accept_weak=privacy.accept_weak_delta)

    @cached_property
    def accounting(self) -> Accounting:
        """delta, relation and accountant, with ``auto`` resolved to what judges this sampling."""
        privacy = self.setting.config.privacy
        return self.choice.accounting(
            delta=self.delta[0],
            relation=cast(Any, privacy.relation),
            accountant=cast(Any, privacy.accountant),
        )

    def noise_multipliers(self) -> np.ndarray:
        """Calibrated, or as given: one per client where clients add the noise, shape (1,) at a server, else empty."""
        privacy = self.setting.config.privacy
        if privacy.noise_multiplier is not None:
            return np.full(self.choice.num_multipliers, privacy.noise_multiplier)
        if privacy.mechanism == "none" or privacy.epsilon == math.inf:
            return np.zeros(self.choice.num_multipliers)
        return self.choice.calibrated(self.budget, self.accounting)

    def of(self, entries: Iterable[ReleaseEntry]) -> list[ReleaseEntry]:
        """Those of a ledger that are about this unit."""
        return [entry for entry in entries if entry.mechanism in self._ledger_names]

    def guarantee(self, entries: Iterable[ReleaseEntry], *, evidence: str) -> Guarantee | None:
        """What a ledger of this experiment earns for this unit, beside the evidence of an audit."""
        return state_guarantee(self.of(entries), terms=self.terms, evidence=evidence)

    @cached_property
    def terms(self) -> Terms:
        """Under which a guarantee is stated; logged before training, checked by ``verify``."""
        config, claims = self.setting.config, self.unit is not None
        seeds = config.seeds
        return Terms(
            mechanism=self.mechanism,
            unit=self.unit,
            delta=self.accounting.delta if claims else None,
            delta_rule=self.delta[1] if claims else None,
            relation=self.accounting.relation if claims else None,
            accountant=self.accounting.accountant if claims else None,
            num_examples=self._num_examples,
            num_clients=self.setting.num_clients,
            noise_secret=seeds.noise == "secret",
            seeds={
                purpose: getattr(seeds, purpose) if getattr(seeds, purpose) is not None else config.seed
                for purpose in ("data", "sampling", "model", "noise")
            },
            noisy_steps_per_round=self.choice.noisy_steps_per_round,
            public_data=self.setting.data.public,
            client_budgets=self.setting.client_budgets,
            caveats=tuple(self.caveats),
            **in_words(config, self.setting.sampler.law, mechanism=self.mechanism, unit=self.unit),
        )

    @property
    def _num_examples(self) -> int:
        data = self.setting.data
        return int(data.client_sizes[data.population_ids].sum())
