"""Who takes part in which round."""

import numpy as np

from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.privacy import AllClients, CohortSampler, FixedSizeSampler, PoissonSampler
from fedpriv.streams import Streams


def make_sampler(config: Config, clients: np.ndarray, streams: Streams) -> CohortSampler:
    """A sampler of the kind asked for or, with ``auto``, of the kind that the mechanism needs.

    Args:
        clients: ids of those who may be trained.
    """
    cohort = len(clients) if config.sampling.cohort is None else config.sampling.cohort
    kind = config.sampling.kind
    if cohort > len(clients):
        raise ConfigError(
            f"sampling.cohort={cohort:g} exceeds the population of {len(clients)} clients; use a smaller cohort "
            "or more clients (partition.num_clients)."
        )
    if kind == "all" and cohort != len(clients):
        raise ConfigError(
            f"sampling=all takes all {len(clients)} clients, but sampling.cohort={cohort:g}; drop the cohort or "
            "use sampling=poisson or fixed_size."
        )
    if kind == "auto":
        sampled = "poisson" if config.privacy.mechanism == "central" else "fixed_size"
        kind = sampled if cohort < len(clients) else "all"
    if kind == "all":
        return AllClients(clients=clients)
    if kind == "poisson":
        return PoissonSampler(clients=clients, rate=cohort / len(clients), streams=streams)
    if cohort != int(cohort):
        raise ConfigError(f"sampling=fixed_size needs a whole sampling.cohort, not {cohort}.")
    return FixedSizeSampler(clients=clients, size=int(cohort), streams=streams)
