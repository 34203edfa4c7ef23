"""Who takes part in which round."""

from typing import Any

import numpy as np

from fedpriv.accounting.claims import noise_by_server
from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.privacy import CohortSampler, make_sampler
from fedpriv.streams import Streams


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
    if kind == "auto":
        amplified = noise_by_server(config.privacy.mechanism)
        kind = "all" if sampling.cohort in (None, len(clients)) else "poisson" if amplified else "fixed_size"
    law = cohort_sampling(
        kind=kind,
        population=len(clients),
        cohort=sampling.cohort,
        separation=sampling.separation,
        cap=sampling.cap,
    )
    return make_sampler(law, clients=clients, streams=streams)
