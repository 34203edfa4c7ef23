"""A stock strategy drives the rounds as its own ``start`` would, and each aggregate is Flower's own."""

import copy
import dataclasses
import gc
import random
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedpriv.config import compose
from fedpriv.errors import FedprivError
from fedpriv.experiment import Experiment
from fedpriv.experiment.flower_side import make_strategy
from fedpriv.experiment.nodes import make_app
from fedpriv.federation import ServerOptimizer, ServerState, StockAlgorithm
from fedpriv.federation.stock_client import DIAGNOSTICS
from fedpriv.federation.stock_nodes import StockNodes
from fedpriv.federation.stock_settings import Settings
from fedpriv.runtimes import flower_private
from fedpriv.runtimes.inprocess import InProcessGrid
from fedpriv.streams import global_coins

STRATEGIES = {
    "FedAvg": [],
    "Krum": ["+strategy.flower.num_malicious_nodes=1"],
    "FedMedian": [],
    "FedTrimmedAvg": ["+strategy.flower.beta=0.2"],
    "FedAdam": ["+strategy.flower.eta=0.05"],
    "QFedAvg": ["+strategy.flower.client_learning_rate=0.5"],
    "Bulyan": ["+strategy.flower.num_malicious_nodes=1"],
}
ROUNDS = 3


def overrides(name: str, *more: str) -> list[str]:
    some = ["experiment=digits_smoke", "privacy=none", "strategy=flower"]
    return [*some, f"strategy.flower._target_=flwr.serverapp.strategy.{name}", *STRATEGIES.get(name, []), *more]


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    """QFedAvg and Bulyan collect garbage at every reply, which takes longer the more was imported."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class Recording:
    """An observer that keeps copies of all replies."""

    def __init__(self) -> None:
        self.sent: list[list[Message]] = []
        self.received: list[list[Message]] = []

    def saw(self, round_number: int, sent, received) -> None:
        self.sent.append(copy.deepcopy(list(sent)))
        self.received.append(copy.deepcopy(list(received)))


class OrderedGrid(InProcessGrid):
    """Replies in the order of nodes, as fedpriv hands them over."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return sorted(super().send_and_receive(messages), key=lambda reply: reply.metadata.src_node_id)


class Stage:
    """A digits experiment with its nodes."""

    def __init__(self, *given: str, grid_class: type[InProcessGrid] = InProcessGrid, noise: float = 1.0) -> None:
        flower_private.become_server()
        self.experiment = Experiment.assemble(compose(given, config_dir=None))
        self.streams = self.experiment.streams(None)
        multipliers = np.full(self.experiment.data.num_clients, noise)
        self.mechanism = self.experiment.privacy.mechanism(multipliers, self.streams, None)
        app = make_app(self.experiment, self.mechanism, self.streams)
        self.grid = grid_class(
            node_ids=range(1, self.experiment.num_nodes + 1),
            execute=lambda batch: [app(m, flower_private.node_context(m.metadata.dst_node_id)) for m in batch],
        )
        self.model = self.experiment.new_model()
        self.layout = self.experiment.layout(self.model)
        self.start = {name: self.model.state_dict()[name].clone() for name in self.layout.names}
        self.entries: list = []
        self.recording = Recording()

    def algorithm(self, strategy=None) -> StockAlgorithm:
        made = self.experiment.stock_algorithm(
            self.mechanism,
            self.streams,
            model=self.model,
            layout=self.layout,
            permit=self.entries.append,
            observers=[self.recording],
        )
        if strategy is not None:
            made._strategy = strategy
        return made

    def state(self, attempt: int = 0) -> ServerState:
        optimizer = ServerOptimizer(
            layout=self.layout,
            start=self.layout.from_module(self.model),
            make_optimizer=self.experiment.server_optimizer,
        )
        return ServerState(
            round=0, attempt=attempt, optimizer=optimizer, rule=self.experiment.server_rule(self.layout), mechanism={}
        )


def same(arrays: ArrayRecord, parameters) -> bool:
    """Equal bits, once the strategy's arrays are in the model's dtype."""
    found = arrays.to_torch_state_dict()
    return list(found) == list(parameters) and all(
        torch.equal(found[name].to(tensor.dtype), tensor) for name, tensor in parameters.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_rounds_are_those_of_the_strategys_own_start_bit_for_bit(name):
    ours = Stage(*overrides(name))
    algorithm, state = ours.algorithm(), ours.state()
    for _ in range(ROUNDS):
        algorithm.run_round(ours.grid, state)

    theirs = Stage(*overrides(name), grid_class=OrderedGrid)
    strategy = make_strategy(theirs.experiment.config)
    result = strategy.start(theirs.grid, ArrayRecord(theirs.start), num_rounds=ROUNDS)
    assert same(result.arrays, state.optimizer.parameters)
    assert not same(ArrayRecord(theirs.start), state.optimizer.parameters)


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_rounds_aggregate_is_flowers_own_of_the_same_replies(name):
    stage = Stage(*overrides(name))
    algorithm, state, after = stage.algorithm(), stage.state(), []
    for _ in range(ROUNDS):
        algorithm.run_round(stage.grid, state)
        after.append({k: v.clone() for k, v in state.optimizer.parameters.items()})

    fresh, arrays = make_strategy(stage.experiment.config), ArrayRecord(stage.start)
    for round_number, (replies, expected) in enumerate(zip(stage.recording.received, after, strict=True), 1):
        fresh.configure_train(round_number, arrays, ConfigRecord(), stage.grid)  # some remember what was sent
        arrays, _ = fresh.aggregate_train(round_number, replies)
        assert same(arrays, expected)


def test_krum_is_one_of_the_replies_and_the_median_is_none():
    for name, one in (("Krum", True), ("FedMedian", False)):
        stage = Stage(*overrides(name))
        state = stage.state()
        stage.algorithm().run_round(stage.grid, state)
        replies = [reply.content["arrays"] for reply in stage.recording.received[0]]
        assert any(same(arrays, state.optimizer.parameters) for arrays in replies) == one


def test_a_wrapper_strategy_is_built_with_what_it_wraps_and_its_noise_repeats():
    wrapper = "flwr.serverapp.strategy.DifferentialPrivacyServerSideFixedClipping"
    inner = "{_target_: flwr.serverapp.strategy.FedMedian, min_available_nodes: 5}"
    given = [
        "experiment=digits_smoke",
        "privacy=none",
        "strategy=flower",
        f"strategy.flower._target_={wrapper}",
        f"+strategy.flower.strategy={inner}",
        "+strategy.flower.noise_multiplier=0.1",
        "+strategy.flower.clipping_norm=1.0",
        "+strategy.flower.num_sampled_clients=10",
    ]
    ended = []
    for _ in range(2):
        stage = Stage(*given)
        strategy = make_strategy(stage.experiment.config)
        assert (strategy.strategy.min_available_nodes, strategy.strategy.fraction_evaluate) == (5, 0.0)
        state = stage.state()
        stage.algorithm(strategy).run_round(stage.grid, state)
        ended.append(stage.layout.flatten(state.optimizer.parameters))
    assert torch.equal(*ended)
    plain = Stage(*given, "strategy.flower.noise_multiplier=0")
    state = plain.state()
    plain.algorithm().run_round(plain.grid, state)
    assert not torch.equal(plain.layout.flatten(state.optimizer.parameters), ended[0])


def test_records_have_the_strategys_keys_in_both_directions():
    keys = ["+strategy.flower.arrayrecord_key=weights", "+strategy.flower.configrecord_key=settings"]
    stage = Stage(*overrides("FedAvg", *keys))
    stage.algorithm().run_round(stage.grid, stage.state())
    sent, received = stage.recording.sent[0][0].content, stage.recording.received[0][0].content
    assert set(sent) == {"weights", "settings", "fedpriv.settings"}
    assert set(sent["settings"]) == {"server-round"}
    assert set(received) == {"weights", "metrics", DIAGNOSTICS}
    assert set(received["metrics"]) == {"num-examples", "train_loss"}
    assert received["metrics"]["num-examples"] == stage.experiment.data.client_sizes[0]


def test_messages_share_no_record():
    stage = Stage(*overrides("FedAvg"))
    seen = {}

    class Vandal(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            messages = list(super().configure_train(server_round, arrays, config, grid))
            seen["shared"] = len({id(m.content) for m in messages})
            return messages

    stage.recording.saw = lambda _, sent, __: seen.update(records=len({id(m.content["arrays"]) for m in sent}))
    stage.algorithm(Vandal()).run_round(stage.grid, stage.state())
    assert seen == {"shared": 1, "records": 10}


def test_replies_come_as_a_list_in_the_order_of_clients_whichever_was_sampled_first():
    orders = []

    class Watching(FedAvg):
        def aggregate_train(self, server_round, replies):
            assert isinstance(replies, list)
            orders.append([reply.metadata.src_node_id for reply in replies])
            return super().aggregate_train(server_round, replies)

    stage = Stage(*overrides("FedAvg"))
    algorithm, state = stage.algorithm(Watching(fraction_train=0.5, fraction_evaluate=0.0)), stage.state()
    for _ in range(4):
        outcome = algorithm.run_round(stage.grid, state)
        assert (outcome.cohort + 1).tolist() == orders[-1]
    assert all(order == sorted(order) and len(order) == 5 for order in orders)
    assert len(set(map(tuple, orders))) > 1


def test_sampling_is_a_function_of_the_round_and_leaves_the_global_generators_alone():
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    cohorts = []
    for _ in range(2):
        stage = Stage(*overrides("FedAvg", "+strategy.flower.fraction_train=0.3"))
        algorithm, state = stage.algorithm(), stage.state()
        cohorts.append([algorithm.run_round(stage.grid, state).cohort.tolist() for _ in range(3)])
    assert cohorts[0] == cohorts[1]
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_global_coins_differ_from_seed_to_seed_and_come_back_after_an_error():
    drawn = []
    before = random.getstate()
    for seed in (0, 0, 1):
        with pytest.raises(KeyError), global_coins(np.random.default_rng(seed)):  # noqa: PT012
            drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
            raise KeyError
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))
    assert random.getstate() == before


def test_nothing_aggregated_leaves_the_parameters_as_they_were():
    stage = Stage(*overrides("FedAvg"))

    class Nothing(FedAvg):
        def aggregate_train(self, server_round, replies):
            return None, None

    state = stage.state()
    outcome = stage.algorithm(Nothing()).run_round(stage.grid, state)
    assert (state.round, outcome.replied) == (1, 10)
    assert same(ArrayRecord(stage.start), state.optimizer.parameters)


def test_dropouts_are_error_replies_and_no_failures():
    stage = Stage(*overrides("FedAvg", "federation.dropout=0.5"))
    algorithm, state = stage.algorithm(), stage.state()
    outcome = algorithm.run_round(stage.grid, state)
    answered = [reply.has_content() for reply in stage.recording.received[0]]
    assert 0 < sum(answered) < 10
    assert (outcome.status == 0).tolist() == answered
    assert (outcome.status != 2).all()
    assert outcome.failures == {}
    assert np.isfinite(outcome.metrics["update_norm"][outcome.status == 0]).all()


def test_evaluation_is_really_done_where_the_strategy_configures_it():
    stage = Stage(*overrides("FedAvg", "+strategy.flower.fraction_evaluate=0.5"))
    found = {}

    class Watching(FedAvg):
        def aggregate_evaluate(self, server_round, replies):
            found["metrics"] = super().aggregate_evaluate(server_round, replies)

    stage.algorithm(Watching(fraction_evaluate=0.5)).run_round(stage.grid, stage.state())
    assert 0 < found["metrics"]["accuracy"] < 1
    assert found["metrics"]["loss"] > 0


@pytest.mark.parametrize("example", [False, True])
def test_the_experiments_own_evaluation_is_the_nodes(example):
    stage = Stage(*overrides("FedAvg", *(["privacy=example"] if example else [])))
    clients = np.array([7, 2, 5])
    measured = stage.algorithm().evaluate_clients(stage.grid, stage.state(), clients)
    assert measured["examples"].tolist() == stage.experiment.data.client_sizes[clients].tolist()
    assert ((measured["accuracy"] > 0) & (measured["accuracy"] < 1)).all()


# -- privacy -----------------------------------------------------------------------------------------------


def test_the_entry_is_written_before_any_message_and_names_who_is_asked():
    given = [*overrides("FedAvg", "+strategy.flower.fraction_train=0.4"), "privacy=example"]
    stage = Stage(*given)
    order = []
    stage.recording.saw = lambda *_: order.append("messages")
    stage.entries = type("L", (list,), {"append": lambda self, e: (order.append("entry"), list.append(self, e))})()
    outcome = stage.algorithm().run_round(stage.grid, stage.state())
    assert order == ["entry", "messages"]
    (entry,) = stage.entries
    assert [entry] == list(outcome.entries)
    assert entry.clients == tuple(outcome.cohort.tolist())
    assert len(entry.clients) == 4


def test_a_strategy_of_ones_own_pays_for_everybody(tmp_path, monkeypatch):
    (tmp_path / "choosy.py").write_text("from flwr.serverapp.strategy import FedAvg\nclass Choosy(FedAvg): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    given = [*overrides("FedAvg", "+strategy.flower.fraction_train=0.4"), "privacy=example"]
    stage = Stage(*given, "strategy.flower._target_=choosy.Choosy")
    outcome = stage.algorithm().run_round(stage.grid, stage.state())
    assert len(outcome.cohort) == 4
    assert stage.entries[0].clients == tuple(range(10))


def test_with_example_privacy_the_strategy_is_told_no_metric():
    stage = Stage(*overrides("FedAvg"), "privacy=example")
    seen = {}

    class Nosy(FedAvg):
        def aggregate_train(self, server_round, replies):
            seen["train"] = [dict(reply.content.metric_records) for reply in replies]
            seen["records"] = set(replies[0].content)
            return super().aggregate_train(server_round, replies)

        def aggregate_evaluate(self, server_round, replies):
            seen["evaluate"] = [set(reply.content["metrics"]) for reply in replies]

    outcome = stage.algorithm(Nosy(fraction_evaluate=1.0)).run_round(stage.grid, stage.state())
    sizes = stage.experiment.data.client_sizes.tolist()
    assert [dict(told["metrics"]) for told in seen["train"]] == [{"num-examples": size} for size in sizes]
    assert seen["records"] == {"arrays", "metrics"}
    assert seen["evaluate"] == [{"num-examples"}] * 10
    assert np.isfinite(outcome.metrics["loss"]).all()  # a diagnostic, for the tables


def test_noise_differs_by_round_client_and_attempt_and_has_the_planned_size(judge):
    # Full batches in one step, and noise that drowns the gradients: an update is lr / n times the noisy sum.
    stage = Stage(*overrides("FedAvg"), "privacy=example", "training.lr=1", "training.batch_size=2000", noise=1e4)

    class Stubborn(FedAvg):
        def aggregate_train(self, server_round, replies):
            return None, None

    noises, sizes = [], stage.experiment.data.client_sizes
    for attempt in (0, 1):
        algorithm, state = stage.algorithm(Stubborn()), stage.state(attempt)
        for _ in range(2):
            algorithm.run_round(stage.grid, state)
            for client, reply in enumerate(stage.recording.received.pop()):
                update = stage.layout.flatten(reply.content["arrays"].to_torch_state_dict())
                noises.append((update - stage.layout.flatten(stage.start)).numpy() * sizes[client])
    assert len(noises) == 40
    assert judge.are_independent(noises)
    assert judge.has_std(np.concatenate(noises), 1e4 * stage.experiment.config.privacy.max_grad_norm)
    assert [entry.noise_multiplier for entry in stage.entries] == [(1e4,) * 10] * 4


def test_a_sender_without_a_ledger_gets_no_answer_from_private_clients():
    stage = Stage(*overrides("FedAvg"), "privacy=example", grid_class=OrderedGrid)
    message = next(iter(FedAvg().configure_train(1, ArrayRecord(stage.start), ConfigRecord(), stage.grid)))
    (reply,) = stage.grid.send_and_receive([message])
    assert reply.has_error()
    assert "keeps no ledger" in reply.error.reason


# -- what a strategy may not do ----------------------------------------------------------------------------


def _asking(change):
    class Asking(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            return change(list(super().configure_train(server_round, arrays, config, grid)), grid)

    return Asking(fraction_evaluate=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda messages, grid: [*messages, messages[0]], "one train message a round"),
        (lambda messages, grid: [Message(messages[0].content, 99, "train")], "asks node 99 for 'train'"),
        (lambda messages, grid: [Message(messages[0].content, 1, "evaluate")], "asks node 1 for 'evaluate'"),
        (lambda messages, grid: grid.send_and_receive(messages), "cannot send messages by itself"),
        (lambda messages, grid: 1 / 0, "Round 1: Asking failed: ZeroDivisionError"),
    ],
    ids=["twice", "nobody", "another phase", "by itself", "error"],
)
def test_what_would_be_in_no_ledger_is_refused(change, message):
    stage = Stage(*overrides("FedAvg"), "privacy=example")
    state = stage.state()
    with pytest.raises(FedprivError, match=message):
        stage.algorithm(_asking(change)).run_round(stage.grid, state)
    assert (state.round, stage.entries, stage.recording.sent) == (0, [], [])


def test_a_message_is_of_the_client_round_and_noise_that_the_ledger_names():
    stage = Stage(*overrides("FedAvg"), "privacy=example", noise=2.5)
    stage.algorithm().run_round(stage.grid, stage.state(attempt=3))
    told = [Settings.of(m.content, flower_private.node_context(77)) for m in stage.recording.sent[0]]
    (entry,) = stage.entries
    assert tuple(settings.client for settings in told) == entry.clients
    assert tuple(settings.noise_multiplier for settings in told) == entry.noise_multiplier
    assert {(settings.round, settings.attempt) for settings in told} == {(entry.round, entry.attempt)} == {(1, 3)}


SAY = "fedpriv.settings"


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("record", "said", "message"),
    [
        ("zz", {"fedpriv.noise-multiplier": 0.0}, "sends fedpriv.noise-multiplier"),
        ("config", {"fedpriv.client": 9}, "sends fedpriv.client"),
        ("aa", {"server-round": 2}, "sends server-round=2 in round 1"),
        (SAY, {"round": 1, "client": 0, "attempt": 0, "noise-multiplier": 0.0}, "sends fedpriv.settings"),
        ("fedpriv.diagnostics", {}, "sends fedpriv.diagnostics"),
    ],
    ids=["noise", "client", "round", "the record itself", "another record"],
)
def test_what_the_ledger_says_is_no_strategys_to_set(phase, record, said, message):
    class Saying(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            return self._saying("train", super().configure_train(server_round, arrays, config, grid))

        def configure_evaluate(self, server_round, arrays, config, grid):
            return self._saying("evaluate", super().configure_evaluate(server_round, arrays, config, grid))

        def _saying(self, asked, messages):
            for sent in messages:
                if asked == phase:
                    sent.content[record] = ConfigRecord({**sent.content.get(record, {}), **said})
                yield sent

    stage = Stage(*overrides("FedAvg"), "privacy=example")
    with pytest.raises(FedprivError, match=f"Saying {message}.*no strategy's to set"):
        stage.algorithm(Saying(fraction_evaluate=1.0)).run_round(stage.grid, stage.state())
    assert len(stage.entries) == (0 if phase == "train" else 1)


def test_nodes_read_settings_in_their_record_only():
    asked = Settings(round=4, client=2, attempt=1, noise_multiplier=1.5)
    others = RecordDict({"fedpriv": ConfigRecord({"client": 5, "fedpriv.client": 5, "server-round": 9})})
    content = asked.added_to(others)
    content["zz"] = ConfigRecord({"fedpriv.noise-multiplier": 0.0})
    assert Settings.of(content, flower_private.node_context(1)) == asked
    assert SAY not in others
    stranger = Settings.of(others, flower_private.node_context(7))
    assert (stranger.round, stranger.client, np.isnan(stranger.noise_multiplier)) == (9, 6, True)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_the_node_itself_refuses_a_client_that_is_held_out(kind):
    stage = Stage(*overrides("FedAvg", "split.held_out_clients=0.3"), "privacy=example")
    held_out = int(stage.experiment.data.held_out_clients[0])
    replies = {}
    for client in (held_out, int(stage.experiment.data.population_ids[0]), 99):
        settings = Settings(round=1, client=client, attempt=0, noise_multiplier=1.0)
        content = settings.added_to(RecordDict({"arrays": ArrayRecord(stage.start)}))
        (replies[client],) = stage.grid.send_and_receive([Message(content, dst_node_id=1, message_type=kind)])
    refused = {client: reply.has_error() and reply.error.reason for client, reply in replies.items()}
    assert f"Clients [{held_out}] are held out" in refused.pop(held_out)
    assert "Clients [99] are held out of training, or do not exist" in refused.pop(99)
    assert set(refused.values()) == {False}


def test_a_client_without_examples_answers_although_no_noise_was_planned_for_it():
    stage = Stage(*overrides("FedAvg"), "privacy=example")
    data = stage.experiment.data
    offsets = np.concatenate([[0, 0], data.offsets[2:] - data.offsets[1]])
    clients = dataclasses.replace(data.clients, offsets=offsets, indices=data.indices[data.offsets[1] :])
    experiment = dataclasses.replace(stage.experiment, data=dataclasses.replace(data, clients=clients))
    app = make_app(experiment, stage.mechanism, stage.streams)
    for client, answers in ((0, True), (1, False)):
        settings = Settings(round=1, client=client, attempt=0, noise_multiplier=float("nan"))
        content = settings.added_to(RecordDict({"arrays": ArrayRecord(stage.start)}))
        message = Message(content, dst_node_id=1, message_type="train")
        flower_private.address(message, "a")
        assert app(message, flower_private.node_context(1)).has_content() == answers


def test_an_aggregation_that_fails_is_told_in_the_strategys_words():
    class Broken(FedAvg):
        def aggregate_train(self, server_round, replies):
            for reply in replies:
                reply.content["metrics"].pop("num-examples", None)
            return super().aggregate_train(server_round, replies)

    stage = Stage(*overrides("FedAvg"))
    with pytest.raises(FedprivError, match=r"Broken failed: InconsistentMessageReplies: .*num-examples"):
        stage.algorithm(Broken()).run_round(stage.grid, stage.state())


def test_arrays_that_are_not_the_models_are_refused():
    class Renaming(FedAvg):
        def aggregate_train(self, server_round, replies):
            return ArrayRecord({"other": torch.zeros(3)}), None

    stage = Stage(*overrides("FedAvg"))
    with pytest.raises(FedprivError, match="other names or shapes"):
        stage.algorithm(Renaming()).run_round(stage.grid, stage.state())


def test_a_round_in_which_every_client_fails_is_an_error_with_a_reason():
    class TwoRecords(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            messages = list(super().configure_train(server_round, arrays, config, grid))
            return [
                Message(RecordDict({**m.content, "more": arrays}), m.metadata.dst_node_id, "train") for m in messages
            ]

    stage = Stage(*overrides("FedAvg"))
    with pytest.raises(FedprivError, match=r"every client of the cohort failed.*2 ArrayRecords.*strategy\.client_app"):
        stage.algorithm(TwoRecords()).run_round(stage.grid, stage.state())


def test_nodes_of_clients_that_are_held_out_are_not_shown():
    stage = Stage(*overrides("FedAvg", "split.held_out_clients=0.3"))
    outcome = stage.algorithm().run_round(stage.grid, stage.state())
    assert outcome.cohort.tolist() == stage.experiment.data.population_ids.tolist()
    assert len(outcome.cohort) == 7


def test_a_grid_with_too_few_nodes_is_refused():
    class Few(InProcessGrid):
        pass

    few: Grid = Few(node_ids=[4, 8], execute=lambda batch: [])
    with pytest.raises(FedprivError, match="2 nodes are there"):
        StockNodes(few, clients=np.arange(3))
    nodes = StockNodes(few, clients=np.array([1]))
    assert (list(nodes.get_node_ids()), nodes.node(1), nodes.client(8), nodes.client(4)) == ([8], 8, 1, None)
