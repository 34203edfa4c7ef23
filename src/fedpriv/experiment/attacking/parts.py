"""Candidates by sensitive group, and by decile of the clients they are with."""

import numpy as np

from fedpriv.attacks.observation import BoolArray
from fedpriv.data import FederatedData
from fedpriv.experiment.attacking.challenge import Challenge

_PARTS = 10


def by_group(challenge: Challenge, data: FederatedData) -> dict[str, dict[str, BoolArray]]:
    """Attribute -> group -> which candidates are of it; example level.

    Args:
        data: the run's; a challenge's rows go on with the server's test examples, and so do groups.
    """
    rows = np.concatenate(challenge.groups)
    found = dict[str, dict[str, BoolArray]]()
    for attribute, groups in data.groups.items():
        own = np.asarray(groups)[rows]
        names = data.names_of(attribute)
        found[attribute] = {names[code]: own == code for code in np.unique(own).tolist()}
    return found


def by_decile(challenge: Challenge, data: FederatedData) -> dict[str, BoolArray]:
    """Tenths of the population's clients by number of training examples, smallest first -> their candidates.

    Nothing where there are fewer than ten clients.
    """
    clients = data.population_ids
    if len(clients) < _PARTS:
        return {}
    ordered = clients[np.argsort(data.client_sizes[clients], kind="stable")]
    tenths = np.array_split(ordered, _PARTS)
    return {str(number): np.isin(challenge.holders, own) for number, own in enumerate(tenths, start=1)}
