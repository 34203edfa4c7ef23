"""The server's halves of SCAFFOLD and FedNova, and SCAFFOLD as a whole against the paper's pseudocode."""

import numpy as np
import pytest
import torch

from fedpriv.errors import FedprivError
from fedpriv.federation.server_rules import Answers, FedNovaServerRule, ScaffoldServerRule


def answers(clients, *, steps=None, weights=None, before=None, after=None):
    count = len(clients)
    return Answers(
        clients=np.asarray(clients, dtype=np.int64),
        weights=np.ones(count) if weights is None else np.asarray(weights, dtype=float),
        steps=np.ones(count) if steps is None else np.asarray(steps, dtype=float),
        before=before or {},
        after=after or {},
    )


def control(*values):
    return {"control": torch.tensor(values)}


def test_scaffolds_control_moves_by_the_changes_over_all_clients():
    rule = ScaffoldServerRule(size=2, population=4)
    rule.combine(torch.zeros(2), answers([0, 2], after={0: control(4.0, 0.0), 2: control(0.0, 8.0)}))
    assert rule.broadcast()["control"].tolist() == [1.0, 2.0]
    rule.combine(torch.zeros(2), answers([0], before={0: control(4.0, 0.0)}, after={0: control(0.0, 4.0)}))
    assert rule.broadcast()["control"].tolist() == [0.0, 3.0]


def test_the_order_of_replies_does_not_show():
    after = {k: {"control": torch.randn(50, generator=torch.Generator().manual_seed(k))} for k in range(9)}
    first, second = (ScaffoldServerRule(size=50, population=9) for _ in range(2))
    first.combine(torch.zeros(50), answers(range(9), after=after))
    second.combine(torch.zeros(50), answers(range(9), after=dict(reversed(after.items()))))
    assert torch.equal(first.tensors()["control"], second.tensors()["control"])


def test_a_control_that_is_not_finite_stops_the_run():
    with pytest.raises(FedprivError, match=r"diverged; lower training\.lr"):
        ScaffoldServerRule(size=1, population=1).combine(torch.zeros(1), answers([0], after={0: control(float("nan"))}))


def test_what_scaffold_keeps_survives_a_checkpoint():
    rule = ScaffoldServerRule(size=2, population=3)
    rule.combine(torch.zeros(2), answers([0], after={0: control(1.0, 2.0)}))
    other = ScaffoldServerRule(size=2, population=3)
    other.load_tensors(rule.tensors())
    assert torch.equal(rule.tensors()["control"], other.tensors()["control"])


def test_fednova_multiplies_by_the_mean_number_of_steps():
    update = torch.ones(2, dtype=torch.float64)
    scaled = FedNovaServerRule().combine(update, answers([0, 1], steps=[2, 8], weights=[1, 3]))
    assert scaled.tolist() == [6.5, 6.5]


def test_fednova_without_answers_moves_nothing():
    assert FedNovaServerRule().combine(torch.zeros(2), answers([])).tolist() == [0, 0]


def test_clients_of_equal_steps_make_fednova_federated_averaging(run_digits):
    """iid clients of equal size take equally many steps."""
    equal = ("privacy=none", "partition.num_clients=7", "data.test_fraction=0.2001", "rounds=2")
    nova, plain = run_digits(*equal, "strategy=fednova"), run_digits(*equal)
    assert nova.record.metrics["test_loss"] == pytest.approx(plain.record.metrics["test_loss"], rel=1e-6)


def test_a_scaffold_run_is_the_papers_algorithm(run_digits):
    """Karimireddy et al. 2020, Algorithm 1 with option II, written out beside a real run with full batches."""
    from safetensors.torch import load_file

    from fedpriv.config import compose
    from fedpriv.experiment import Experiment

    overrides = (
        *("privacy=none", "strategy=scaffold", "partition=shards", "partition.num_clients=4"),
        *("rounds=4", "sampling.cohort=2", "training.batch_size=10000", "training.local_epochs=3"),
    )
    ran = run_digits(*overrides)
    config = compose(["experiment=digits_smoke", "evaluation.clients=false", *overrides], config_dir=None)
    experiment = Experiment.assemble(config)
    model = experiment.new_model()
    layout = experiment.layout(model)
    x, c = layout.from_module(model), torch.zeros(layout.size, dtype=torch.float64)
    own = {k: torch.zeros_like(c) for k in range(4)}
    sampler = experiment.sampler(experiment.streams(None))
    for round_number in range(1, 5):
        cohort = sampler.cohort(round_number).tolist()
        moves, changes = [], []
        for k in cohort:
            features, labels = experiment.data.client(k)
            y = x.clone()
            for _ in range(3):
                layout.load_into(model, y)
                model.zero_grad()
                torch.nn.functional.cross_entropy(model(features), labels).backward()
                gradient = layout.flatten({name: p.grad for name, p in model.named_parameters()})
                y = y - 0.5 * (gradient - own[k] + c)
            new = own[k] - c + (x - y) / (3 * 0.5)
            moves.append(y - x)
            changes.append(new - own[k])
            own[k] = new
        x = x + sum(moves) / len(moves)
        c = c + sum(changes) / 4
    trained = layout.flatten(load_file(ran.folder / "model.safetensors"))
    assert float((trained - x).abs().max()) < 2e-6
    assert float((x - layout.from_module(experiment.new_model())).abs().max()) > 0.1
