"""What tampering came to: success and accuracy of the run's model, and of the same run without the attack."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fedpriv.evaluation import evaluate_global
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.shadows import Tell, train_again_on
from fedpriv.experiment.tampering import Tampered
from fedpriv.records.run_folder import RunFolder
from fedpriv.records.run_record import RunRecord
from fedpriv.records.tables import read_table
from fedpriv.streams import Streams


def integrity(
    tampered: Tampered,
    *,
    final: dict[str, torch.Tensor],
    record: RunRecord,
    noise_multipliers: np.ndarray,
    streams: Streams,
    tell: Tell,
) -> dict[str, Any]:
    """What ``run.json`` is to say.

    Args:
        final: the run's last weights.
        streams: coins of ``twin noise``.
    """
    experiment = tampered.experiment
    tell(f"{tampered.name}: the same run without attackers, {record.rounds} rounds")
    model = experiment.new_model()
    model.load_state_dict(final)
    alone = _twin(experiment, streams)
    twin = train_again_on(alone, alone.streams(None), rounds=record.rounds, noise_multipliers=noise_multipliers)
    headline = f"test_{experiment.task.headline}"
    shared: dict[str, Any] = {"data": experiment.data, "task": experiment.task, "device": experiment.device}
    attacked, clean = tampered.outcome(model), tampered.outcome(twin)
    return {
        "success": attacked.success,
        "baseline": clean.success,
        "accuracy": evaluate_global(model, **shared)[headline],
        "baseline_accuracy": evaluate_global(twin, **shared)[headline],
        "shown": attacked.shown,
        "attackers": sorted(tampered.attackers),
        "clients": len(experiment.data.population_ids),
    }


def history(tampered: Tampered, folder: RunFolder) -> dict[str, list[float]]:
    """Round, success and accuracy of each tested round."""
    headline = f"test_{tampered.experiment.task.headline}"
    rows = [row for row in read_table(folder.path, "rounds").to_pylist() if row.get(tampered.metric) is not None]
    columns = {"round": "round", "success": tampered.metric, "accuracy": headline}
    return {name: [row[column] for row in rows] for name, column in columns.items()}


def _twin(experiment: Experiment, streams: Streams) -> Experiment:
    """Without attackers, and with noise of its own: one noise on two sums would cancel out."""
    config = experiment.config
    seeds = replace(config.seeds, noise=int(streams.rng("twin noise").integers(2**62)))
    return Experiment(config=replace(config, attack={}, seeds=seeds), data=experiment.data)
