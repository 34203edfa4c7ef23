"""Who is asked about, and what the adversary's copies say of them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedpriv.config import compose
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.candidates import Candidates
from fedpriv.experiment.attacking.challenge import client_challenge, example_challenge


def experiment(*overrides: str) -> Experiment:
    return Experiment.assemble(compose(["experiment=digits_smoke", "privacy=none", *overrides], config_dir=None))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_what_clients_keep_back_are_the_non_members():
    data = experiment("split.client_holdout=0.5", "split.held_out_clients=0.2").data
    found = example_challenge(data, rng())
    rows = np.concatenate(found.groups)
    inside = np.concatenate([data.clients[client] for client in data.population_ids])
    outside = np.concatenate([data.holdout[client] for client in data.population_ids])
    assert set(rows[found.members]) == set(inside)
    assert set(rows[~found.members]) == set(outside)
    for client in data.population_ids:
        assert set(rows[found.holders == client]) == {*data.clients[client], *data.holdout[client]}
    assert found.others == "client_holdout"


def test_test_examples_are_lent_to_clients_with_their_label():
    data = experiment("partition=dirichlet", "partition.alpha=0.1").data
    found = example_challenge(data, rng())
    rows = np.concatenate(found.groups)
    assert found.others == "test"
    assert (found.members == (rows < len(data.train))).all()
    assert sorted(rows) == list(range(len(data.train) + len(data.test)))
    labels = found.data.train.y[rows]
    assert (found.data.train.x[rows[~found.members]] == data.test.x[rows[~found.members] - len(data.train)]).all()
    for client in range(data.num_clients):
        mine = found.holders == client
        assert set(labels[mine & ~found.members]) <= set(labels[mine & found.members])


def test_the_order_tells_nothing():
    members = example_challenge(experiment().data, rng()).members
    place = np.arange(len(members))
    assert abs(np.corrcoef(place, members)[0, 1]) < 0.1


@pytest.mark.parametrize("count", [10, 11, 100])
def test_few_candidates_are_half_members(count):
    found = example_challenge(experiment().data, rng()).at_most(count, rng(1))
    assert (len(found.members), found.members.sum()) == (count // 2 * 2, count // 2)
    assert len(found.groups) == len(found.holders) == len(found.members)


def test_clients_that_are_held_out_are_the_non_members():
    data = experiment("split.held_out_clients=0.3").data
    found = client_challenge(data, rng())
    assert sorted(found.holders[~found.members]) == data.held_out_clients.tolist()
    for rows, client in zip(found.groups, found.holders, strict=True):
        assert (rows == data.clients[client]).all()


def test_losses_and_gradients_are_those_of_autograd():
    made = experiment("split.held_out_clients=0.3")
    found = client_challenge(made.data, rng()).at_most(4, rng())
    candidates = Candidates(made, found.data, found.groups)
    model = made.new_model()
    layout = made.layout(model)
    parameters = layout.from_module(model) + 0.01
    layout.load_into(model, parameters)
    losses, gradients = candidates.losses(parameters), list(candidates.gradients(parameters))
    for client, loss, gradient in zip(found.holders, losses, gradients, strict=True):
        x, y = made.data.client(int(client))
        expected = functional.cross_entropy(model(x), y)
        model.zero_grad()
        expected.backward()
        assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
        by_name = torch.cat([dict(model.named_parameters())[name].grad.flatten() for name in layout.names])
        assert torch.allclose(gradient, by_name, atol=1e-6)


def test_losses_of_single_examples_come_in_their_order():
    made = experiment()
    found = example_challenge(made.data, rng())
    model = made.new_model()
    losses = Candidates(made, found.data, found.groups).losses(made.layout(model).from_module(model))
    x, y = made.data.client(0)
    of = {int(row): loss for row, loss in zip(np.concatenate(found.groups), losses, strict=True)}
    expected = functional.cross_entropy(model(x), y, reduction="none").detach().numpy()
    assert [of[int(row)] for row in made.data.clients[0]] == pytest.approx(expected.tolist(), rel=1e-5)


def test_a_model_that_diverged_has_large_losses():
    made = experiment()
    found = example_challenge(made.data, rng()).at_most(10, rng())
    layout = made.layout(made.new_model())
    losses = Candidates(made, found.data, found.groups).losses(torch.full((layout.size,), float("nan")))
    assert (losses == 1e6).all()
