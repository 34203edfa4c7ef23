"""Whole runs of stock Flower strategies, mods, ClientApps and training functions of the user's own."""

import dataclasses
import gc
import importlib
import random
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crash.runs import EVERY_ROUND, Result, fedpriv, ledger, only_run, run_json
from fedpriv.config import compose
from fedpriv.errors import ConfigError, FedprivError, InterruptedRunError
from fedpriv.experiment import Experiment, attempt, resume
from fedpriv.experiment.flower_side import samples_blindly
from fedpriv.experiment.recording import Recorder
from fedpriv.records.tables import read_table
from fedpriv.tracking import Callback

STOCK = ("strategy=flower", "evaluation.clients=true")
FLOWER = "strategy.flower._target_=flwr.serverapp.strategy"
NONE = "privacy=none"
DP_MOD = "{_target_: flwr.clientapp.mod.LocalDpMod, clipping_norm: 1.0, sensitivity: 0.01, epsilon: 1.0, delta: 0.1}"

OWN = '''
import random

import numpy
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg, Strategy


class Mine(FedAvg):
    """Asks the first half."""

    def configure_train(self, server_round, arrays, config, grid):
        messages = list(super().configure_train(server_round, arrays, config, grid))
        return sorted(messages, key=lambda m: m.metadata.dst_node_id)[: len(messages) // 2]


class Quiet(FedAvg):
    """Would have no noise."""

    def configure_train(self, server_round, arrays, config, grid):
        for message in super().configure_train(server_round, arrays, config, grid):
            message.content["zz"] = ConfigRecord({"fedpriv.noise-multiplier": 0.0})
            yield message


class Fails(FedAvg):
    def aggregate_train(self, server_round, replies):
        raise RuntimeError("too few honest clients")


class Net(torch.nn.Sequential):
    """With buffers: running means that clients send along."""

    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.BatchNorm1d(10))


class Starts(FedAvg):
    def start(self, *args, **kwargs):
        return super().start(*args, **kwargs)


def my_mod(message, context, call_next):
    reply = call_next(message, context)
    if not reply.has_error():
        reply.content["metrics"]["seen"] = 1.0
    return reply


def no_mod(message):
    return message


def train(net, loader, epochs, lr=0.3):
    """As in Flower's quickstart."""
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    net.train()
    running_loss = 0.0
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
    return running_loss / len(loader)


def augment(net, loader):
    """With coins that nobody seeds by hand."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    for x, y in loader:
        noise = numpy.random.normal(scale=0.1 * random.random(), size=tuple(x.shape))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x + torch.from_numpy(noise).float()), y).backward()
        optimizer.step()


app = ClientApp()


@app.train()
def train_message(message, context):
    mine, n = context.node_config["partition-id"], context.node_config["num-partitions"]
    state = message.content["arrays"].to_torch_state_dict()
    step = message.content["config"]["lr"] * (mine + 1) / n * context.run_config["local-epochs"]
    moved = {k: t + step * torch.rand_like(t) for k, t in state.items() if t.is_floating_point()}
    metrics = MetricRecord({"num-examples": 10, "train_loss": float(mine)})
    return Message(RecordDict({"arrays": ArrayRecord({**state, **moved}), "metrics": metrics}), reply_to=message)
'''


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    """QFedAvg collects garbage at every reply, which takes longer the more was imported."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "flower_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "flower_of_mine", raising=False)
    importlib.invalidate_caches()
    return folder / "flower_of_mine.py"


class Impatient(Callback):
    """Interrupts, as Ctrl-C does, after a round."""

    def __init__(self, round_number: int) -> None:
        self.round_number, self.folder, self.notes = round_number, None, []

    def started(self, folder, *, notes, **_):
        self.folder, self.notes = folder, notes

    def already_done(self, folder, record):
        self.folder = folder

    def round_done(self, row, failures):
        if row["round"] == self.round_number:
            raise KeyboardInterrupt


def model(ran) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(ran.folder / "model.safetensors")


# -- strategies --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        ("FedAvg",),
        ("Krum", "+strategy.flower.num_malicious_nodes=1"),
        ("FedMedian",),
        ("FedTrimmedAvg",),
        ("FedAdam", "+strategy.flower.eta=0.05"),
        ("QFedAvg", "+strategy.flower.client_learning_rate=0.5"),
    ],
    ids=lambda strategy: strategy[0],
)
def test_a_stock_strategy_learns(strategy, run_digits):
    name, *arguments = strategy
    ran = run_digits(*STOCK, NONE, f"{FLOWER}.{name}", *arguments)
    assert ran.record.status == "completed"
    assert ran.record.guarantee is None
    assert ran.record.metrics["test_accuracy"] > 0.6
    assert 0.6 < ran.record.metrics["diagnostic_client_accuracy_mean"] < 1
    rounds = read_table(ran.folder, "rounds").to_pydict()
    assert rounds["round"] == [1, 2, 3]
    assert rounds["replied"] == [10, 10, 10]
    assert rounds["diagnostic_train_loss"][0] > rounds["diagnostic_train_loss"][-1] > 0


@pytest.mark.slow
def test_flowers_fedavg_is_fedprivs_up_to_rounding(run_digits):
    stock, own = run_digits(*STOCK, NONE), run_digits(NONE, "clients_per_node=1")
    assert set(model(stock)) == set(model(own))
    for name, tensor in model(own).items():
        torch.testing.assert_close(model(stock)[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_run_with_example_privacy_keeps_its_target(run_digits):
    ran = run_digits(*STOCK, f"{FLOWER}.FedMedian")
    assert ran.record.guarantee["unit"] == "example"
    assert 7 < ran.record.guarantee["epsilon"] <= 8
    assert ran.record.metrics["test_accuracy"] > 0.2
    fewer = run_digits(*STOCK, "+strategy.flower.fraction_train=0.2")
    assert fewer.record.guarantee["epsilon"] < ran.record.guarantee["epsilon"]
    assert all(len(entry.clients) == 2 for entry in ledger(fewer.folder))


def test_a_strategy_of_ones_own_pays_for_those_it_did_not_ask(own, run_digits, tmp_path):
    ran = run_digits("strategy=flower", "strategy.flower._target_=flower_of_mine.Mine", output_dir=tmp_path)
    assert read_table(ran.folder, "rounds")["cohort"].to_pylist() == [5, 5, 5]
    assert [entry.clients for entry in ledger(ran.folder)] == [tuple(range(10))] * 3


@pytest.mark.slow
def test_flaky_strategies_mods_and_workers_give_the_same_bits(run_digits):
    given = (*STOCK, NONE, "federation.dropout=0.3", "+strategy.flower.fraction_train=0.7", f"strategy.mods=[{DP_MOD}]")
    alone, together = run_digits(*given), run_digits(*given, "workers=2")
    assert together.folder.name == alone.folder.name
    assert Result.of(together.folder) == Result.of(alone.folder)
    assert 0 < sum(read_table(alone.folder, "rounds")["dropped"].to_pylist()) < 21


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["Krum", "FedMedian", "FedAdam", "FedTrimmedAvg"])
def test_any_strategy_gives_the_same_bits_over_workers_with_privacy(strategy, run_digits):
    given = (*STOCK, f"{FLOWER}.{strategy}")
    alone, together = run_digits(*given), run_digits(*given, "workers=2")
    assert Result.of(together.folder) == Result.of(alone.folder)


# -- stopped and resumed -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resumed_run_starts_again_pays_nothing_and_gives_the_same_bits(run_digits, tmp_path):
    given = (*STOCK, f"{FLOWER}.FedAdam", "+strategy.flower.eta=0.05", "+strategy.flower.fraction_train=0.5")
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=Impatient(2))
    folder = only_run(tmp_path)
    assert len(ledger(folder)) == 2
    ran = run_digits(*given, output_dir=tmp_path)
    assert ran.record.execution.attempts == 2
    alone = run_digits(*given).folder
    dropped = {"rounds": ""}  # the bound that its epsilon column holds is tighter for rounds that are paid already
    assert dataclasses.replace(Result.of(folder), **dropped) == dataclasses.replace(Result.of(alone), **dropped)
    columns = ["round", "cohort", "diagnostic_train_loss", "test_loss"]
    assert read_table(folder, "rounds").select(columns) == read_table(alone, "rounds").select(columns)
    assert [(entry.round, entry.attempt) for entry in ledger(folder)] == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.slow
def test_a_killed_run_forgets_its_rounds_and_gives_the_same_bits(run_digits, tmp_path):
    given = ("experiment=digits_smoke", *STOCK, f"{FLOWER}.FedAdam", f"output_dir={tmp_path}")
    deeds = [EVERY_ROUND, ("kill", "fedpriv.experiment.recording:Recorder.permit", "after", 3)]
    assert fedpriv("run", *given, deeds=deeds).code < 0
    folder = only_run(tmp_path)
    assert run_json(folder)["rounds"] == 2
    assert len(ledger(folder)) == 3
    assert fedpriv("resume", folder).code == 0
    assert Result.of(folder) == Result.of(run_digits(*STOCK, f"{FLOWER}.FedAdam").folder)
    assert fedpriv("verify", folder).code == 0


@pytest.mark.slow
def test_elsewhere_every_round_is_released_and_paid_again(tmp_path):
    given = ("experiment=digits_smoke", "privacy.epsilon=null", "privacy.noise_multiplier=2", *STOCK)
    deeds = [EVERY_ROUND, ("kill", "fedpriv.experiment.recording:Recorder.permit", "after", 3)]
    assert fedpriv("run", *given, f"output_dir={tmp_path}", deeds=deeds).code < 0
    folder = only_run(tmp_path)
    assert fedpriv("resume", folder, deeds=[("version", "numpy", "99.0")]).code == 0
    assert [(e.round, e.attempt) for e in ledger(folder)] == [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1)]
    assert read_table(folder, "rounds")["attempt"].to_pylist() == [1, 1, 1]
    assert run_json(folder)["guarantee"]["attempts"] == 2
    assert fedpriv("verify", folder).code == 0


@pytest.mark.slow
def test_code_of_ones_own_pays_again_since_its_coins_cannot_be_seen(own, run_digits, tmp_path):
    given = ("strategy=flower", "strategy.flower._target_=flower_of_mine.Mine", "privacy.noise_multiplier=2")
    given = (*given, "privacy.epsilon=null")
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=Impatient(1))
    again = Impatient(99)
    run_digits(*given, output_dir=tmp_path, reporter=again)
    assert [(e.round, e.attempt) for e in ledger(again.folder)] == [(1, 0), (1, 1), (2, 1), (3, 1)]
    assert any("code of your own" in note for note in again.notes)


AUGMENT = "training.function={_target_: flower_of_mine.augment}"
NOISY = ("privacy=central", "privacy.epsilon=null", "privacy.noise_multiplier=2")


@pytest.mark.slow
def test_a_function_of_ones_own_that_was_released_but_not_checkpointed_is_paid_again(own, run_digits, tmp_path):
    given = (*NOISY, AUGMENT)
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=Impatient(1))
    assert [(e.round, e.attempt) for e in ledger(only_run(tmp_path))] == [(1, 0)]
    again = Impatient(99)
    run_digits(*given, output_dir=tmp_path, reporter=again)
    assert [(e.round, e.attempt) for e in ledger(again.folder)] == [(1, 0), (1, 1), (2, 1), (3, 1)]
    assert any("code of your own (flower_of_mine" in note for note in again.notes)
    assert any("paid for again" in note for note in again.notes)


@pytest.mark.slow
@pytest.mark.parametrize("pending", [False, True])
def test_checkpointed_rounds_of_ones_own_function_are_not_paid_again(pending, own, run_digits, tmp_path, monkeypatch):
    given, permit = (*NOISY, AUGMENT), Recorder.permit

    def impatient(self, entry):
        if pending:
            permit(self, entry)
        if entry.round == 2:
            raise KeyboardInterrupt
        if not pending:
            permit(self, entry)

    with monkeypatch.context() as patch:
        patch.setattr(attempt, "_CHECKPOINT_SECONDS", 0.0)
        patch.setattr(Recorder, "permit", impatient)
        with pytest.raises(InterruptedRunError):
            run_digits(*given, output_dir=tmp_path)
    again = Impatient(99)
    run_digits(*given, output_dir=tmp_path, reporter=again)
    paid = [(1, 0), (2, 0), (2, 1), (3, 1)] if pending else [(1, 0), (2, 0), (3, 0)]
    assert [(e.round, e.attempt) for e in ledger(again.folder)] == paid
    assert any("paid for again" in note for note in again.notes) == pending


@pytest.mark.slow
def test_initial_weights_are_data_and_no_code_so_nothing_is_paid_again(run_digits, tmp_path):
    weights = run_digits(NONE).folder / "model.safetensors"
    given = (*NOISY, f"model.init={weights}")
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=Impatient(1))
    again = Impatient(99)
    ran = run_digits(*given, output_dir=tmp_path, reporter=again)
    assert [(e.round, e.attempt) for e in ledger(ran.folder)] == [(1, 0), (2, 0), (3, 0)]
    assert Result.of(ran.folder).model == Result.of(run_digits(*given).folder).model


@pytest.mark.slow
def test_global_coins_that_a_function_takes_are_the_clients_own(own, run_digits, tmp_path):
    models = []
    for i, more in enumerate([(), (), ("seeds.sampling=4",)]):
        random.seed(i)
        np.random.seed(i)
        before = random.getstate(), np.random.get_state()[1].tolist()
        ran = run_digits(NONE, AUGMENT, *more, output_dir=tmp_path / str(i))
        models.append(Result.of(ran.folder).model)
        assert before == (random.getstate(), np.random.get_state()[1].tolist())
    assert models[0] == models[1] != models[2]


@pytest.mark.slow
def test_after_a_failed_client_a_resumed_run_pays_again(run_digits, tmp_path, monkeypatch):
    from fedpriv.data import FederatedData

    given = ("strategy=flower", "privacy.noise_multiplier=2", "privacy.epsilon=null")
    whole = FederatedData.client

    def torn(self, client):
        if client == 3:
            raise OSError("gone for a moment")
        return whole(self, client)

    monkeypatch.setattr(FederatedData, "client", torn)
    with pytest.raises(InterruptedRunError):
        run_digits(*given, output_dir=tmp_path, reporter=Impatient(1))
    monkeypatch.undo()
    ran = run_digits(*given, output_dir=tmp_path)
    assert [(e.round, e.attempt) for e in ledger(ran.folder)] == [(1, 0), (1, 1), (2, 1), (3, 1)]


def test_a_completed_run_is_left_alone(run_digits, tmp_path):
    ran = run_digits(*STOCK, NONE, output_dir=tmp_path)
    before = Result.of(ran.folder)
    assert resume(ran.folder, reporter=Impatient(99)).status == "completed"
    assert Result.of(ran.folder) == before


# -- mods, ClientApps, functions ---------------------------------------------------------------------------


@pytest.mark.slow
def test_flowers_mods_wrap_training(run_digits):
    plain, clipped = run_digits(*STOCK, NONE), run_digits(*STOCK, NONE, f"strategy.mods=[{DP_MOD}]")
    assert clipped.record.guarantee is None
    assert Result.of(plain.folder).model != Result.of(clipped.folder).model
    private = run_digits(*STOCK, "strategy.mods=[flwr.clientapp.mod.message_size_mod]")
    assert private.record.guarantee["epsilon"] <= 8


def test_a_mod_of_ones_own_is_called_and_its_file_counts(own, run_digits, tmp_path):
    given = ("strategy=flower", NONE, "strategy.mods=[flower_of_mine.my_mod]")
    ran = run_digits(*given, output_dir=tmp_path)
    own.write_text(OWN.replace('["seen"] = 1.0', '["seen"] = 2.0'))
    config = compose(["experiment=digits_smoke", "evaluation.clients=false", *given], config_dir=None)
    assert Experiment.assemble(config).run_id() != ran.folder.name


def test_somebody_elses_client_app_answers(own, run_digits, tmp_path):
    given = ("strategy=flower", NONE, "strategy.client_app=flower_of_mine:app", "evaluation.clients=true")
    given = (*given, "model._target_=flower_of_mine.Net")
    first, second = (run_digits(*given, "training.lr=0.01", output_dir=tmp_path / name) for name in "ab")
    clients = read_table(first.folder, "clients").to_pydict()
    assert clients["diagnostic_loss"] == [float(k) for k in range(10)] * 3
    assert "diagnostic_client_accuracy_mean" not in first.record.metrics
    assert first.record.metrics["test_accuracy"] >= 0
    assert (model(first)["2.running_mean"] > 0).all(), "buffers are part of what is sent and aggregated"
    assert model(first)["2.num_batches_tracked"].dtype == torch.int64
    assert Result.of(first.folder) == Result.of(second.folder), "its coins are a function of round and client"
    config = compose(["experiment=digits_smoke", *given, "training.lr=0.01"], config_dir=None)
    assert Experiment.assemble(config).run_id() == first.folder.name
    own.write_text(OWN + "\n")
    assert Experiment.assemble(config).run_id() != first.folder.name


@pytest.mark.slow
@pytest.mark.parametrize("privacy", [(NONE,), ("privacy=central", "privacy.epsilon=100")], ids=["none", "central"])
def test_an_existing_train_function_trains(privacy, own, run_digits, tmp_path):
    function = "training.function={_target_: flower_of_mine.train, epochs: 2}"
    ran = run_digits(*privacy, function, output_dir=tmp_path)
    assert (ran.record.guarantee or {}).get("unit") == (None if privacy == (NONE,) else "client")
    losses = read_table(ran.folder, "rounds")["diagnostic_train_loss"].to_pylist()
    assert losses[0] > 0
    if privacy == (NONE,):
        assert ran.record.metrics["test_accuracy"] > 0.7


def test_an_existing_train_function_under_a_stock_strategy(own, run_digits, tmp_path):
    function = "training.function={_target_: flower_of_mine.train, epochs: 2}"
    ran = run_digits("strategy=flower", NONE, f"{FLOWER}.FedMedian", function, output_dir=tmp_path)
    assert ran.record.metrics["test_accuracy"] > 0.7


# -- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([f"{FLOWER}.Strategy"], "abstract class Strategy"),
        ([f"{FLOWER}.Krumm"], "no class or function flwr.serverapp.strategy.Krumm"),
        (["strategy.flower._target_=torch.nn.Linear"], "does not make a flwr.serverapp.strategy"),
        (["+strategy.flower.fraction=1"], "takes no such argument.*fraction_train"),
        (["clients_per_node=5"], "leave clients_per_node=1"),
        (["clients_per_node=null"], "leave clients_per_node=1"),
        (["+strategy.flower.min_available_nodes=11"], "wait for ever for 11 nodes: 10 clients"),
        (["+strategy.flower.min_train_nodes=12"], "wait for ever for 12 nodes"),
        (["+strategy.flower.fraction_train=1.5"], "wait for ever for 15 nodes"),
        (["privacy=central"], "privacy=central"),
        (["sampling.cohort=5"], "the strategy samples"),
        (["strategy.weighting=uniform"], "weighted_by_key"),
        (["strategy.optimizer.lr=0.5"], "strategy.optimizer"),
        (["+strategy.flower.fraction_evaluate=0.5"], "fraction_evaluate=0"),
        ([f"{FLOWER}.QFedAvg", "+strategy.flower.client_learning_rate=0.1"], "training loss"),
        ([f"{FLOWER}.FedProx", "+strategy.flower.proximal_mu=0.5"], "training.proximal_mu=0"),
        (["strategy.flower._target_=flower_of_mine.Starts"], r"Starts overrides start\(\)"),
        (["strategy.mods=[flower_of_mine.my_mod]"], "only Flower's own mods"),
        (["strategy.mods=[flwr.clientapp.mod.LocalDpMod]"], "is a class"),
        (["strategy.mods=[flower_of_mine.no_mod]", NONE], "no Flower mod"),
        (["strategy.mods=[3]", NONE], r"strategy\.mods\[0\]=3 must be"),
        (["strategy.mods=[flwr.clientapp.mod.nothing]"], "no class or function flwr.clientapp.mod.nothing"),
        (["strategy.client_app=flower_of_mine:app"], "strategy.client_app trains as it likes"),
        (["strategy.client_app=flower_of_mine:train", NONE], "no flwr.clientapp.ClientApp"),
        (["strategy.client_app=flower_of_mine:nobody", NONE], "no class or function flower_of_mine.nobody"),
        (["training.function=flower_of_mine.train", NONE], "must be {_target_: NAME"),
        (["training.function={_target_: flower_of_mine.trian}", NONE], "no class or function flower_of_mine.trian"),
        (["training.function={_target_: flower_of_mine.train, epoch: 1}", NONE], "takes no such argument"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_is_refused_before_there_is_a_folder(given, message, own):
    with pytest.raises(ConfigError, match=message) as caught:
        Experiment.assemble(compose(["experiment=digits_smoke", "strategy=flower", *given], config_dir=None))
    assert "\n" not in str(caught.value)


def test_too_many_held_out_clients_leave_too_few():
    given = ["experiment=digits_smoke", "strategy=flower", "+strategy.flower.min_train_nodes=8"]
    Experiment.assemble(compose(given, config_dir=None))
    with pytest.raises(ConfigError, match="7 clients may be trained"):
        Experiment.assemble(compose([*given, "split.held_out_clients=0.3"], config_dir=None))


def test_fedprox_with_the_clients_term_is_taken(run_digits):
    mu = ("+strategy.flower.proximal_mu=0.5", "training.proximal_mu=0.5")
    ran = run_digits("strategy=flower", NONE, f"{FLOWER}.FedProx", *mu)
    assert ran.record.metrics["test_accuracy"] > 0.6


def test_a_strategy_that_fails_ends_the_run_in_its_words(own, run_digits, tmp_path):
    with pytest.raises(FedprivError, match="Round 1: Fails failed: RuntimeError: too few honest clients"):
        run_digits("strategy=flower", NONE, "strategy.flower._target_=flower_of_mine.Fails", output_dir=tmp_path)
    assert run_json(only_run(tmp_path))["status"] == "failed"


def test_a_strategy_that_would_set_the_noise_releases_nothing(own, run_digits, tmp_path):
    with pytest.raises(FedprivError, match=r"Quiet sends fedpriv.noise-multiplier.*no strategy's to set"):
        run_digits("strategy=flower", "strategy.flower._target_=flower_of_mine.Quiet", output_dir=tmp_path)
    assert ledger(only_run(tmp_path)) == []


def test_flowers_log_stays_off_the_terminal(command):
    ended = command("run", "experiment=digits_smoke", "strategy=flower", "rounds=1")
    assert ended.code == 0
    assert not [line for line in (ended.out + ended.err).splitlines() if "INFO" in line or "WARNING" in line]


def test_only_flowers_own_through_and_through_samples_blindly(own):
    dp = "flwr.serverapp.strategy.DifferentialPrivacyServerSideFixedClipping"
    inner = "+strategy.flower.strategy={_target_: %s}"
    for target, blind in (("flwr.serverapp.strategy.Krum", True), ("flower_of_mine.Mine", False)):
        config = compose(["strategy=flower", f"strategy.flower._target_={dp}", inner % target], config_dir=None)
        assert samples_blindly(config) == blind
        config = compose(["strategy=flower", f"strategy.flower._target_={target}"], config_dir=None)
        assert samples_blindly(config) == blind


def test_the_entries_of_a_run_are_those_of_the_plan(run_digits):
    ran = run_digits(*STOCK, "+strategy.flower.fraction_train=0.5")
    experiment = Experiment.assemble(compose(["experiment=digits_smoke", *STOCK], config_dir=None))
    planned = experiment.privacy.noise_multipliers()
    for entry in ledger(ran.folder):
        assert entry.noise_multiplier == tuple(planned[list(entry.clients)].tolist())
        assert dataclasses.replace(entry, round=0) == dataclasses.replace(entry, round=0, attempt=0)


# -- the page ----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "flower.md").read_text()
COMMANDS = re.findall(r"^fedpriv run (.*)$", PAGE, flags=re.MULTILINE)


def python_block(name: str) -> str:
    (block,) = re.findall(rf"```python\n# {name}\n(.*?)```", PAGE, flags=re.DOTALL)
    return block


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_runs(line, command, tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(python_block("theirs.py"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    ended = command("run", *shlex.split(line), "rounds=1")
    assert (ended.code, ended.err) == (0, "")
    assert run_json(only_run(tmp_path / "outputs"))["status"] == "completed"


def test_the_pages_apps_are_found_by_flower(tmp_path, monkeypatch):
    from fedpriv.federation import ClientApp, ServerApp

    (tmp_path / "apps_of_the_page.py").write_text(python_block("apps.py"))
    monkeypatch.syspath_prepend(tmp_path)
    apps = importlib.import_module("apps_of_the_page")
    assert isinstance(apps.server_app, ServerApp)
    assert isinstance(apps.client_app, ClientApp)
