"""What ``run.json`` says of who pays: sensitive groups of the test set, and clients by their size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fedpriv.evaluation import ClipRates, deciles_by_size, evaluate_groups, training_examples
from fedpriv.experiment.assembly import Experiment
from fedpriv.records.tables import read_table

_OF_THE_MODEL = (
    "demographic_parity_difference",
    "equalized_odds_difference",
    "equal_opportunity_difference",
    "accuracy_by_group",
)
_PERSONAL = (
    "with strategy.personal every client has a model of its own: the shared layers answer nothing, and the "
    "server's test examples are no client's"
)


def inequality(
    experiment: Experiment, *, model: nn.Module, folder: Path, clients: np.ndarray, measured: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Top-level entries of ``run.json``.

    ``fairness`` where the data names groups: each attribute's entries of ``evaluate_groups``, and, from training data,
    ``diagnostic_clip_rate_by_group`` and ``diagnostic_training_examples_by_group``. ``diagnostic_clients_by_size``
    where ten clients or more were evaluated.

    Args:
        model: with its final parameters.
        folder: of the run, its tables finished.
        clients: ids of the clients that were evaluated, (n,).
        measured: metric -> value of each of them (n,).
    """
    data, found = experiment.data, dict[str, Any]()
    rates = _clip_rates(experiment, folder)
    if data.groups:
        tested = _tested(experiment, model)
        found["fairness"] = {
            attribute: {
                **tested.get(attribute, {}),
                "diagnostic_clip_rate_by_group": rates.by_group(attribute),
                "diagnostic_training_examples_by_group": _named(experiment, attribute),
            }
            for attribute in data.groups
        }
    sizes = data.client_sizes[clients]
    columns = {name: values for name, values in measured.items() if name != "examples"}
    if by_size := deciles_by_size({**columns, "clip_rate": rates.by_client()[clients]}, sizes):
        found["diagnostic_clients_by_size"] = by_size
    return found


def _tested(experiment: Experiment, model: nn.Module) -> dict[str, dict[str, Any]]:
    if experiment.config.strategy.personal:
        return {
            attribute: {**dict.fromkeys(_OF_THE_MODEL), "not_measured": _PERSONAL}
            for attribute in experiment.data.groups
        }
    return evaluate_groups(model, data=experiment.data, task=experiment.task, device=experiment.device)


def _named(experiment: Experiment, attribute: str) -> dict[str, int]:
    data = experiment.data
    counts = training_examples(data, attribute=attribute)[data.population_ids].sum(axis=0)
    return dict(zip(data.names_of(attribute), counts.tolist(), strict=True))


def _clip_rates(experiment: Experiment, folder: Path) -> ClipRates:
    rates = ClipRates(experiment.data)
    if experiment.config.privacy.mechanism == "none":
        return rates
    table = read_table(folder, "clients")
    if "client" in table.column_names:
        known = [name for name in rates.columns if name in table.column_names]
        columns = {name: np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64) for name in known}
        rates.add(table["client"].to_numpy(zero_copy_only=False), columns)
    return rates
