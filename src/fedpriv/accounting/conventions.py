"""What is meant where delta, relation or accountant are left to fedpriv: the same for a plan and for a run."""

from typing import Literal

from fedpriv.accounting.budget import Accounting
from fedpriv.accounting.sampled_gaussian import Accountant, Relation, Sampling, check_accountable
from fedpriv.errors import ConfigError


def choose_delta(given: float | None, *, population: int, accept_weak: bool) -> tuple[float, str]:
    """delta and the rule that it comes from: as given, or n^-1.1 for n protected units.

    Raises:
        ConfigError: not below 1/n, at which releasing one unit's data in the clear would satisfy it, unless accepted.
    """
    if given is None and population < 2:
        raise ConfigError(
            "One protected unit alone has no sensible delta below 1/n; use more clients, or give privacy.delta and "
            "privacy.accept_weak_delta=true."
        )
    if given is None:
        return population**-1.1, f"n^-1.1 with n = {population}"
    if given >= 1 / population and not accept_weak:
        raise ConfigError(
            f"privacy.delta={given:g} is not below 1/n = {1 / population:.3g} (n = {population}): releasing one unit's "
            "data in the clear would satisfy it. Use a smaller delta, or set privacy.accept_weak_delta=true."
        )
    return given, "given"


def choose_accounting(
    *, delta: float, sampling: Sampling, relation: Relation | Literal["auto"], accountant: Accountant | Literal["auto"]
) -> Accounting:
    """Who judges releases with this sampling; ``auto`` is the closest valid accountant and its natural relation.

    Raises:
        ConfigError: no valid bound is known for the combination.
    """
    fixed_size = sampling == "fixed_size"
    if relation == "auto":
        relation = "replace_one" if fixed_size else "add_or_remove_one"
    if accountant == "auto":
        accountant = "rdp" if fixed_size else "pld"
    check_accountable(sampling=sampling, relation=relation, accountant=accountant)
    return Accounting(delta=delta, relation=relation, accountant=accountant)
