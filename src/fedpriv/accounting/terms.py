"""Under which a guarantee is stated: all that it names and no ledger holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, final

from .claims import Unit
from .client_budgets import ClientBudget
from .sampled_gaussian import Accountant, Relation


@final
@dataclass(frozen=True, kw_only=True)
class Terms:
    """What config and data add to a ledger; logged before training, so that a statement can be held to it.

    Attributes:
        mechanism: the choice of ``privacy``; with ``none`` the next five are None.
        unit: whom this statement is about; a mechanism that protects two has terms for each.
        delta_rule: where delta comes from.
        num_examples, num_clients: that may be trained; they count as public.
        noise_rng: generator and key of the noise.
        noise_secret: whether the key is random, owner-only and deleted; if not: simulation only.
        sampling_run: how cohorts, and at example level batches, are drawn.
        noisy_steps_per_round: noisy sums that a client takes part in in one round, ``min`` and ``max`` over clients.
        weighting, denominator, dropout_policy: how updates are averaged, in words.
        dropout_rate: chance of a client, each round, to never answer, as simulated.
        seeds: of each purpose, or ``secret``.
        public_data: whether everybody may see the training examples.
        initial_weights: where training starts.
        client_budgets: of clients that allow less than others; none where all allow the same. Public.
        caveats: what this run adds to what is never covered.
    """

    mechanism: str
    unit: Unit | None
    delta: float | None
    delta_rule: str | None
    relation: Relation | None
    accountant: Accountant | None
    num_examples: int
    num_clients: int
    noise_rng: str
    noise_secret: bool
    sampling_run: Mapping[str, Any]
    noisy_steps_per_round: Mapping[str, int]
    weighting: str
    denominator: str
    dropout_policy: str
    dropout_rate: float
    seeds: Mapping[str, int | str]
    public_data: bool
    initial_weights: str
    client_budgets: tuple[ClientBudget, ...]
    caveats: tuple[str, ...]

    @property
    def population(self) -> int:
        """Protected units; with ``none`` clients."""
        return self.num_examples if self.unit == "example" else self.num_clients

    def to_json(self) -> dict[str, Any]:
        budgets = [asdict(budget) for budget in self.client_budgets]
        return {**asdict(self), "client_budgets": budgets, "caveats": list(self.caveats)}

    @staticmethod
    def from_json(logged: Mapping[str, Any]) -> "Terms":
        """The inverse of ``to_json``.

        Raises:
            KeyError: something is missing, as in runs of an earlier fedpriv.
        """
        found = {field.name: logged[field.name] for field in fields(Terms)}
        budgets = tuple(ClientBudget(**budget) for budget in found["client_budgets"])
        return Terms(**{**found, "client_budgets": budgets, "caveats": tuple(found["caveats"])})
