"""Who takes part in which round."""

from typing import Any

import numpy as np

from fedpriv.accounting.claims import is_correlated, noise_by_server, protected_units, trust_model
from fedpriv.accounting.sampling import CohortSampling, cohort_sampling
from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, RetiringSampler, make_sampler
from fedpriv.streams import Streams

_RARELY_MORE = 0.95


def cohort_sampler(config: Config, clients: np.ndarray, streams: Streams) -> CohortSampler:
    """A sampler of the kind asked for or, with ``auto``, of the kind that the mechanism needs.

    Args:
        clients: ids of those who may be trained.
    """
    sampling = config.sampling
    if sampling.cohort is not None and sampling.cohort > len(clients):
        raise ConfigError(
            f"sampling.cohort={sampling.cohort:g} exceeds the population of {len(clients)} clients; use a smaller "
            "cohort or more clients (partition.num_clients)."
        )
    if sampling.kind == "all" and sampling.cohort not in (None, len(clients)):
        raise ConfigError(
            f"sampling=all takes all {len(clients)} clients, but sampling.cohort={sampling.cohort:g}; drop the cohort "
            "(sampling.cohort=null) or use sampling=poisson or fixed_size."
        )
    kind: Any = sampling.kind
    cohort, separation = sampling.cohort, sampling.separation
    if kind == "auto" and is_correlated(config.privacy.mechanism):
        kind, cohort, separation = "round_robin", None, separation or _separation(len(clients), cohort)
    elif kind == "auto":
        amplified = noise_by_server(config.privacy.mechanism)
        kind = "all" if cohort in (None, len(clients)) else "poisson" if amplified else "fixed_size"
        shares = trust_model(config.privacy.mechanism) == "distributed"
        if shares and cohort is not None and len(clients) % cohort == 0 and kind == "fixed_size":
            kind = "round_robin"  # nobody comes back before everybody else has
    law = cohort_sampling(kind=kind, population=len(clients), cohort=cohort, separation=separation, cap=sampling.cap)
    sampler = make_sampler(law, clients=clients, streams=streams)
    cap = participation_cap(config, law)
    if cap is None:
        return sampler
    return RetiringSampler(sampler=sampler, most=np.full(int(clients.max()) + 1, cap), since=0)


def _separation(population: int, cohort: float | None) -> int:
    """Rounds in which everybody has a turn, of about the cohort that is asked for."""
    return 1 if cohort is None else max(1, round(population / cohort))


def participation_cap(config: Config, law: CohortSampling) -> int | None:
    """Rounds that a client may take part in at most; None for no such cap.

    Where nothing is asked, both units are protected and coins decide: so many that 5 % of clients would be drawn more
    often, since every round that is allowed costs example-level noise, whether or not a client is drawn.
    """
    cap: int | None = config.sampling.participation_cap
    if cap is not None:
        return cap
    if len(protected_units(config.privacy.mechanism)) < 2:
        return None
    from scipy.stats import binom

    return int(binom.ppf(_RARELY_MORE, law.most_turns(config.rounds), law.rate))
