"""Rounds through real Flower messages: the same bits however the work is spread, ledger before message."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from flwr.app import Error, Message, MessageType
from torch import nn

from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.data import FederatedData
from fedpriv.errors import FedprivError
from fedpriv.federation import (
    DROPPED,
    FAILED,
    REPLIED,
    FederatedAveraging,
    Node,
    PlainServerRule,
    ServerOptimizer,
    ServerState,
    TrainReply,
    TrainTask,
    make_client_app,
)
from fedpriv.models import ParameterLayout
from fedpriv.privacy import ClippingGrid, PoissonBatches, make_sampler
from fedpriv.privacy.mechanisms import CentralGaussian, ExampleGaussian, NoPrivacy
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.inprocess import InProcessGrid
from fedpriv.streams import Streams
from fedpriv.training import Classification, ClientResult, SgdTrainer, ShuffledBatches
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule

CPU = torch.device("cpu")
SIZES = (5, 3, 8, 0, 2, 9, 4)


def sampler_of(kind, *, cohort=None, streams=None):
    law = cohort_sampling(kind=kind, population=len(SIZES), cohort=cohort, separation=None, cap=None)
    return make_sampler(law, clients=np.arange(len(SIZES)), streams=streams)


class RemembersItsClients:
    """A dummy stateful algorithm: what a client sends depends on how often it was trained, and on what it saw."""

    def train(self, start, work):
        for item in work:
            x, _ = item.examples()
            visits = item.state.get("visits", torch.tensor(0)) + 1
            memory = item.state.get("deep/memory", torch.zeros(start.shape)) * 0.5 + start * 0.1
            noise = torch.from_numpy(item.batches().normal(size=start.shape)) * 0.1
            yield ClientResult(
                client_id=item.client_id,
                update=noise + memory + visits * x.sum().double() * 0.01,
                state={"visits": visits, "deep/memory": memory},
                metrics={"visits": float(visits)},
            )


class Cancels:
    """Weighted updates whose float64 sum is another one in another order."""

    def train(self, start, work):
        addends = (1e17, 1.0, -1e17, 0.0, 3.0, 1e17, -1e17)
        for item in work:
            weight = max(SIZES[item.client_id], 1)
            yield ClientResult(
                client_id=item.client_id, update=torch.full_like(start, addends[item.client_id] / weight)
            )


class Refuses:
    """Wraps a trainer; the named clients raise inside of it."""

    def __init__(self, trainer, refusing):
        self.trainer, self.refusing = trainer, refusing

    def train(self, start, work):
        for item in work:
            if item.client_id in self.refusing:
                yield ClientResult(client_id=item.client_id, update=None, failure="ValueError: no")
            else:
                yield from self.trainer.train(start, [item])


def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(6, 3)


def stateful(module, layout):
    return RemembersItsClients()


def sgd(module, layout):
    return SgdTrainer(
        model=module,
        layout=layout,
        task=Classification(num_classes=3),
        make_optimizer=partial(torch.optim.SGD, lr=0.1),
        batches=ShuffledBatches(batch_size=4, local_epochs=1),
        proximal_mu=0.0,
        rule=PlainRule(),
        device=CPU,
    )


def dpsgd(module, layout):
    return OpacusTrainer(
        model=module,
        layout=layout,
        task=Classification(num_classes=3),
        make_optimizer=partial(torch.optim.SGD, lr=0.1),
        batches=PoissonBatches(batch_size=4, local_epochs=1),
        max_grad_norm=1.0,
        layer_norms={},
        proximal_mu=0.0,
        rule=PlainRule(),
        device=CPU,
    )


@dataclass
class Federation:
    """A server and nodes of their own (no object is shared between nodes), joined by real messages."""

    data: FederatedData
    streams: Streams
    make_trainer: object = stateful
    mechanism: object = field(default_factory=NoPrivacy)
    sampler: object = None
    nodes: int = 1
    clients_per_node: int | None = None
    chunk_size: int = 2
    each: bool = False
    dropout: float = 0.0
    refusing: frozenset = frozenset()
    observers: tuple = ()
    server_rule: object = None
    reorder: object = None
    broken_nodes: frozenset = frozenset()

    def __post_init__(self):
        flower_private.become_server()
        self.permitted, self.order = [], []
        if self.clients_per_node == 1:
            self.nodes, self.chunk_size = len(SIZES), 1
        self.apps = {n: self._app() for n in range(1, self.nodes + 1)}
        self.grid = InProcessGrid(node_ids=list(self.apps), execute=self._execute)
        module = model()
        self.layout = ParameterLayout.of(module)
        self.state = ServerState(
            round=0,
            attempt=0,
            optimizer=ServerOptimizer(
                layout=self.layout,
                start=self.layout.from_module(module),
                make_optimizer=partial(torch.optim.SGD, lr=1.0, momentum=0.5),
            ),
            rule=self.server_rule or PlainServerRule(),
            mechanism=self.mechanism.initial_state(),
        )
        self.algorithm = FederatedAveraging(
            layout=self.layout,
            sampler=self.sampler or sampler_of("all"),
            mechanism=self.mechanism,
            client_sizes=self.data.client_sizes,
            weights=self.data.client_sizes.astype(float),
            chunk_size=self.chunk_size,
            clients_per_node=self.clients_per_node,
            permit=self._permit,
            observers=self.observers,
            each=self.each,
        )

    def _app(self):
        module = model()
        layout = ParameterLayout.of(module)
        trainer = self.make_trainer(module, layout)
        node = Node(
            data=self.data,
            model=module,
            layout=layout,
            trainer=Refuses(trainer, self.refusing) if self.refusing else trainer,
            task=Classification(num_classes=3),
            mechanism=self.mechanism,
            rule=PlainRule(),
            weights=self.data.client_sizes.astype(float),
            streams=self.streams,
            dropout=self.dropout,
            device=CPU,
        )
        return make_client_app(node, discreet=False)

    def _permit(self, entry):
        self.permitted.append(entry)
        self.order.append("ledger")

    def _execute(self, messages: Sequence[Message]):
        if messages[0].metadata.message_type == MessageType.TRAIN:
            self.order.append("message")
        answers = []
        for message in messages:
            node = message.metadata.dst_node_id
            if node in self.broken_nodes:
                answers.append(Message(Error(code=0, reason="node on fire"), reply_to=message))
            else:
                answers.append(self.apps[node](message, flower_private.node_context(node)))
        return answers

    def rounds(self, count=1):
        grid = self.grid if self.reorder is None else Reordering(self.grid, self.reorder)
        return [self.algorithm.run_round(grid, self.state) for _ in range(count)]

    @property
    def parameters(self):
        return self.layout.flatten(self.state.optimizer.parameters)


class Reordering:
    """A grid whose answers come in another order."""

    def __init__(self, grid, reorder):
        self.grid, self.reorder = grid, reorder

    def get_node_ids(self):
        return self.reorder(list(self.grid.get_node_ids()))

    def send_and_receive(self, messages, *, timeout=None):
        return self.reorder(list(self.grid.send_and_receive(messages)))


class Tap:
    def __init__(self):
        self.seen = []

    def saw(self, round_number, sent, received):
        self.seen.append((round_number, list(sent), list(received)))


def equal_states(left: Mapping, right: Mapping):
    return left.keys() == right.keys() and all(
        left[k].keys() == right[k].keys() and all(torch.equal(left[k][n], right[k][n]) for n in left[k]) for k in left
    )


@pytest.fixture
def federation(new_data, new_streams):
    return partial(Federation, new_data(SIZES), new_streams(0))


def central(streams, *, noise_multiplier=1.0, sampler=None):
    return CentralGaussian(
        grid=ClippingGrid(clipping_norm=0.5, summands=len(SIZES)),
        sampler=sampler or sampler_of("all"),
        noise_multiplier=noise_multiplier,
        streams=streams,
    )


def example_level(noise=1.0):
    batches = PoissonBatches(batch_size=4, local_epochs=1)
    return ExampleGaussian(
        max_grad_norm=1.0,
        layer_norms={},
        rates=np.array([batches.rate(n) for n in SIZES]),
        steps=np.array([batches.steps(n) for n in SIZES]),
        noise_multipliers=noise * np.linspace(1, 2, len(SIZES)),
    )


@pytest.fixture(params=["none", "central", "example"])
def setting(request, new_streams):
    """Trainer and mechanism."""
    if request.param == "central":
        return {"make_trainer": sgd, "mechanism": central(new_streams(0))}
    if request.param == "example":
        return {"make_trainer": dpsgd, "mechanism": example_level()}
    return {"make_trainer": stateful, "mechanism": NoPrivacy()}


# -- equal bits --------------------------------------------------------------------------------------------


def test_the_number_of_nodes_changes_no_bit(federation, setting):
    runs = [federation(**setting, nodes=nodes) for nodes in (1, 2, 3, 7)]
    outcomes = [run.rounds(4) for run in runs]
    for run, outcome in zip(runs[1:], outcomes[1:], strict=True):
        assert torch.equal(run.parameters, runs[0].parameters)
        assert equal_states(run.state.states, runs[0].state.states)
        for one, two in zip(outcome, outcomes[0], strict=True):
            assert np.array_equal(one.status, two.status)
            assert all(np.array_equal(one.metrics[m], two.metrics[m], equal_nan=True) for m in two.metrics)


def test_a_node_for_each_client_changes_no_bit(federation, setting):
    one, each_its_own = federation(**setting, chunk_size=1), federation(**setting, clients_per_node=1)
    one.rounds(3)
    each_its_own.rounds(3)
    assert torch.equal(one.parameters, each_its_own.parameters)
    assert equal_states(one.state.states, each_its_own.state.states)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("nodes", [1, 3])
def test_returning_each_update_gives_the_bits_of_returning_sums(federation, setting, nodes, dropout):
    refusing = frozenset({2})
    sums, each = (
        federation(**setting, nodes=nodes, dropout=dropout, each=each, refusing=refusing) for each in (False, True)
    )
    sums.rounds(4)
    each.rounds(4)
    assert torch.equal(sums.parameters, each.parameters)
    assert equal_states(sums.state.states, each.state.states)


@pytest.mark.parametrize("reorder", [lambda answers: answers[::-1], lambda answers: answers[1:] + answers[:1]])
def test_the_order_of_replies_and_nodes_changes_no_bit(federation, setting, reorder):
    straight, shuffled = federation(**setting, nodes=3), federation(**setting, nodes=3, reorder=reorder)
    straight.rounds(3)
    shuffled.rounds(3)
    assert torch.equal(straight.parameters, shuffled.parameters)
    assert equal_states(straight.state.states, shuffled.state.states)


@pytest.mark.parametrize("how", [{"nodes": 2}, {"nodes": 3}, {"nodes": 3, "reorder": lambda answers: answers[::-1]}])
def test_float_sums_are_added_in_chunk_order_whoever_answers_first(federation, how):
    straight, spread = (federation(make_trainer=lambda *_: Cancels(), chunk_size=1, **nodes) for nodes in ({}, how))
    straight.rounds(1)
    spread.rounds(1)
    assert torch.equal(straight.parameters, spread.parameters)


def test_chunks_change_no_bit_of_clipped_sums(federation, new_streams):
    """Integers are exact in any grouping; unclipped float sums are only so for equal chunks."""
    runs = [federation(make_trainer=sgd, mechanism=central(new_streams(0)), chunk_size=c) for c in (1, 2, 7)]
    for run in runs:
        run.rounds(3)
    assert torch.equal(runs[0].parameters, runs[1].parameters)
    assert torch.equal(runs[0].parameters, runs[2].parameters)


def test_an_observer_sees_the_real_messages_and_changes_no_bit(federation, setting):
    tap = Tap()
    watched, alone = federation(**setting, nodes=2, observers=(tap,)), federation(**setting, nodes=2)
    watched.rounds(2)
    alone.rounds(2)
    assert torch.equal(watched.parameters, alone.parameters)
    assert [r for r, _, _ in tap.seen] == [1, 2]
    for _, sent, received in tap.seen:
        told = [c for message in sent for c in TrainTask.from_record(message.content).clients]
        assert sorted(told) == list(range(len(SIZES)))
        assert [m.metadata.src_node_id for m in received] == [m.metadata.dst_node_id for m in sent]


# -- per-client state --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"nodes": 1}, {"nodes": 2}, {"nodes": 3}, {"clients_per_node": 1}])
def test_state_travels_with_its_client(federation, new_streams, how):
    """Whichever node trains it next; a client that sat out keeps its state."""
    sampler = sampler_of("poisson", cohort=0.5 * len(SIZES), streams=new_streams(0))
    run = federation(**how, sampler=sampler, dropout=0.3)
    visits = dict.fromkeys(range(len(SIZES)), 0)
    for outcome in run.rounds(12):
        for client, status, seen in zip(
            outcome.cohort, outcome.status, outcome.metrics.get("visits", outcome.cohort), strict=True
        ):
            if status == REPLIED:
                visits[client] += 1
                assert seen == visits[client]
            else:
                assert status == DROPPED
                assert np.isnan(seen) or not outcome.replied
    assert max(visits.values()) > 3
    assert min(visits.values()) >= 0
    kept = {client: int(state["visits"]) for client, state in run.state.states.items()}
    assert kept == {client: count for client, count in visits.items() if count}
    assert all(state["deep/memory"].shape == (run.layout.size,) for state in run.state.states.values())


def test_a_failed_client_keeps_its_old_state(federation):
    run = federation()
    run.rounds(2)
    run.apps = {1: federation(refusing=frozenset({2})).apps[1]}
    run.rounds(1)
    assert int(run.state.states[2]["visits"]) == 2
    assert int(run.state.states[1]["visits"]) == 3


# -- failures ----------------------------------------------------------------------------------------------


def test_dropouts_are_coins_of_round_and_client(federation):
    runs = [federation(dropout=0.4, nodes=nodes) for nodes in (1, 3)]
    statuses = [np.stack([outcome.status for outcome in run.rounds(25)]) for run in runs]
    assert np.array_equal(*statuses)
    assert set(np.unique(statuses[0])) == {REPLIED, DROPPED}
    assert (statuses[0] == DROPPED).mean() == pytest.approx(0.4, abs=0.1)
    assert len({tuple(row) for row in statuses[0]}) > 15


def test_a_node_that_answers_with_an_error_counts_as_its_clients_failing(federation, setting):
    run = federation(**setting, nodes=3)
    tap = Tap()
    run.algorithm = FederatedAveraging(**{**vars(run.algorithm), "observers": (tap,)})
    run.broken_nodes = frozenset({2})
    [outcome] = run.rounds(1)
    [(_, sent, _)] = tap.seen
    [lost] = [TrainTask.from_record(m.content).clients for m in sent if m.metadata.dst_node_id == 2]
    assert lost
    assert outcome.failures == dict.fromkeys(lost, "node on fire")
    assert [k for k, status in zip(outcome.cohort, outcome.status, strict=True) if status == FAILED] == sorted(lost)
    # and the round is what it would be, had these clients failed by themselves
    reference = federation(**setting, nodes=1, refusing=frozenset(lost))
    reference.rounds(1)
    assert torch.equal(run.parameters, reference.parameters)


@pytest.mark.parametrize("how", [{"refusing": frozenset(range(7))}, {"nodes": 2, "broken_nodes": frozenset({1, 2})}])
def test_every_client_failing_ends_the_run_and_moves_nothing(federation, setting, how):
    run = federation(**setting, **how)
    before = run.parameters.clone()
    with pytest.raises(FedprivError, match="every client of the cohort failed"):
        run.rounds(1)
    assert run.state.round == 0
    assert torch.equal(run.parameters, before)
    assert run.state.states == {}


def test_a_failing_client_changes_neither_noise_nor_entry(federation, new_streams):
    """Client level: the update differs by exactly what the client would have added, over the public cohort."""
    mechanism = central(new_streams(0))
    whole, partly = (federation(make_trainer=sgd, mechanism=mechanism, refusing=frozenset(r)) for r in ((), (2,)))
    start = whole.parameters.clone()
    for run in (whole, partly):
        run.rounds(1)
    assert whole.permitted == partly.permitted
    moved = float(torch.linalg.vector_norm(whole.parameters - partly.parameters))
    assert 0 < moved <= 0.5 / len(SIZES) * (1 + 1e-6)
    assert float(torch.linalg.vector_norm(whole.parameters - start)) > moved, "there was noise"


# -- privacy -----------------------------------------------------------------------------------------------


def test_the_ledger_is_written_before_the_first_message(federation, new_streams):
    run = federation(make_trainer=sgd, mechanism=central(new_streams(0)), nodes=2)
    outcomes = run.rounds(3)
    assert run.order == ["ledger", "message"] * 3
    assert [entry.round for entry in run.permitted] == [1, 2, 3]
    assert [entry for outcome in outcomes for entry in outcome.entries] == run.permitted


def test_nothing_is_sent_without_permission(federation, new_streams):
    run = federation(make_trainer=sgd, mechanism=central(new_streams(0)))

    def refuse(entry):
        raise FedprivError("no budget")

    run.algorithm = FederatedAveraging(**{**vars(run.algorithm), "permit": refuse})
    with pytest.raises(FedprivError, match="no budget"):
        run.rounds(1)
    assert run.order == []


def test_clients_are_told_the_noise_that_the_ledger_holds(federation):
    tap = Tap()
    run = federation(make_trainer=dpsgd, mechanism=example_level(), nodes=3, observers=(tap,))
    run.rounds(1)
    [entry] = run.permitted
    told = {}
    for message in tap.seen[0][1]:
        task = TrainTask.from_record(message.content)
        told.update(zip(task.clients, task.noise_multipliers.tolist(), strict=True))
    claimed = dict(zip(entry.clients, entry.noise_multiplier, strict=True))
    assert set(claimed) == {k for k, n in enumerate(SIZES) if n}
    assert {k: told[k] for k in claimed} == claimed


def test_an_empty_cohort_is_a_round_of_noise_alone(federation, new_streams):
    sampler = sampler_of("poisson", cohort=1e-9 * len(SIZES), streams=new_streams(0))
    mechanism = central(new_streams(0), sampler=sampler, noise_multiplier=1e-9)
    run = federation(make_trainer=sgd, mechanism=mechanism, sampler=sampler)
    before = run.parameters.clone()
    [outcome] = run.rounds(1)
    assert len(outcome.cohort) == 0
    assert run.order == ["ledger"]
    assert not torch.equal(run.parameters, before)
    assert run.state.round == 1


@pytest.mark.parametrize("weights", [SIZES, (5000, 3, 8, 0, 2, 9, 4)])
def test_sizes_change_neither_noise_nor_sensitivity_at_client_level(federation, new_streams, weights):
    mechanism = central(new_streams(0))
    run = federation(mechanism=mechanism)
    run.algorithm = FederatedAveraging(**{**vars(run.algorithm), "client_sizes": np.array(weights)})
    run.rounds(1)
    reference = federation(mechanism=mechanism)
    reference.rounds(1)
    assert torch.equal(run.parameters, reference.parameters)
    assert run.permitted == reference.permitted


def test_without_privacy_it_is_the_weighted_mean_of_those_who_answered(federation):
    """McMahan et al. 2017, Algorithm 1."""
    run = federation(make_trainer=sgd, each=True, refusing=frozenset({2}), observers=(tap := Tap(),))
    start = run.parameters.clone()
    run.rounds(1)
    [(_, _, [message])] = tap.seen
    reply = TrainReply.from_record(message.content)
    weights = np.array([n for k, n in enumerate(SIZES) if k != 2], dtype=float)
    addends = reply.values[[k for k in range(len(SIZES)) if k != 2]]  # weight times update
    assert torch.allclose(run.parameters - start, addends.sum(0) / weights.sum(), atol=1e-6)
    assert not reply.values[2].any()


def test_noise_of_clients_is_independent_as_nodes_draw_it(new_data, new_streams, judge):
    """The streams' positions as the node uses them: rounds, clients and attempts, through messages."""
    features = 5000

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, features)

        def forward(self, x):
            return self.layer(x)[:, :3]

    updates = {}
    data = new_data((4, 4, 4))
    for noise in (0.0, 1.0):
        module = Wide()
        layout = ParameterLayout.of(module)
        node = Node(
            data=data,
            model=module,
            layout=layout,
            trainer=dpsgd(module, layout),
            task=Classification(num_classes=3),
            mechanism=NoPrivacy(),
            rule=PlainRule(),
            weights=data.client_sizes.astype(float),
            streams=new_streams(0),
            dropout=0.0,
            device=CPU,
        )
        for r, a in itertools.product((1, 2), (0, 1)):
            task = TrainTask(
                round=r,
                attempt=a,
                parameters={name: torch.zeros(s) for name, s in zip(layout.names, layout.shapes, strict=True)},
                broadcast={},
                told={},
                chunk_ids=(0,),
                chunks=((0, 1, 2),),
                noise_multipliers=np.full(3, noise),
                states={},
                each=True,
            )
            updates[noise, r, a] = node.train(task).values / 4  # the weight is the client's size
    noises = [row for r, a in itertools.product((1, 2), (0, 1)) for row in updates[1.0, r, a] - updates[0.0, r, a]]
    assert len(noises) == 12
    assert judge.are_independent(noises)
    # one step, lr 0.1, divided by an expected batch of 4
    assert judge.has_std(torch.stack(noises), 0.1 / 4)
    assert not judge.has_std(torch.stack(noises), 0.1 / 4 * 1.05)


def test_batches_differ_between_attempts(new_data, new_streams):
    """A round released twice is accounted as two independent samples; shared coins would cost more."""
    drawn = []

    class Records(RemembersItsClients):
        def train(self, start, work):
            for item in work:
                drawn.append(item.batches().random(20))
                yield ClientResult(client_id=item.client_id, update=torch.zeros_like(start))

    run = Federation(new_data(SIZES), new_streams(0), make_trainer=lambda module, layout: Records())
    run.rounds(1)
    run.state.round, run.state.attempt = 0, 1
    run.rounds(1)
    run.state.round, run.state.attempt = 0, 1
    run.rounds(1)
    assert len({tuple(coins) for coins in drawn}) == 2 * len(SIZES)


# -- evaluation --------------------------------------------------------------------------------------------


def test_evaluation_is_aligned_with_the_clients_asked(federation, new_data):
    run = federation(nodes=3)
    asked = np.array([0, 2, 5, 6])
    measured = run.algorithm.evaluate_clients(run.grid, run.state, asked)
    assert measured["examples"].tolist() == [SIZES[k] for k in asked]
    module = model()
    for k, accuracy, loss in zip(asked, measured["accuracy"], measured["loss"], strict=True):
        x, y = new_data(SIZES).client(int(k))
        outputs = module(x).detach()
        assert accuracy == pytest.approx(float((outputs.argmax(1) == y).float().mean()))
        assert loss == pytest.approx(float(nn.functional.cross_entropy(outputs, y)), rel=1e-5)
