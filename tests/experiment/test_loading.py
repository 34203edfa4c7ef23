"""What is kept from training: a share of every client's examples, and whole clients."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.experiment import load_data

DIGITS = ["experiment=digits_smoke", "partition.num_clients=8"]


def loaded(*overrides):
    return load_data(compose([*DIGITS, *overrides], config_dir=None))


def test_every_client_keeps_its_share_back():
    whole, split = loaded(), loaded("split.client_holdout=0.25")
    assert split.holdout.sizes.tolist() == [round(0.25 * n) for n in whole.client_sizes.tolist()]
    assert (split.holdout.sizes + split.client_sizes).tolist() == whole.client_sizes.tolist()
    for k in range(8):
        assert not set(split.clients[k]) & set(split.holdout[k])
        assert set(split.clients[k]) | set(split.holdout[k]) == set(whole.clients[k])


def test_at_least_one_example_stays_for_training():
    split = loaded("split.client_holdout=0.9", "partition.num_clients=1000", "partition.min_examples=0")
    assert split.client_sizes.min() >= 1


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.25, 2), (0.3, 3)])
def test_held_out_clients_are_no_part_of_the_population(share, count):
    data = loaded(f"split.held_out_clients={share}")
    assert len(data.held_out_clients) == count
    assert len(data.population_ids) == 8 - count
    assert not set(data.population_ids) & set(data.held_out_clients)


def test_splits_are_functions_of_the_data_seed():
    both = ("split.client_holdout=0.25", "split.held_out_clients=0.3")
    assert loaded(*both).fingerprint == loaded(*both, "seeds.noise=3").fingerprint
    assert loaded(*both).fingerprint != loaded(*both, "seeds.data=3").fingerprint


def test_nobody_left_to_train_is_told():
    with pytest.raises(ConfigError, match=r"split\.held_out_clients=0\.99 leaves none of the 8 clients"):
        loaded("split.held_out_clients=0.99")


@pytest.mark.parametrize("key", ["client_holdout", "held_out_clients"])
@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_is_below_one(key, share):
    with pytest.raises(ConfigError, match=rf"split\.{key}={share} must be in \[0, 1\)"):
        loaded(f"split.{key}={share}")


def test_what_is_held_out_is_never_trained_and_is_evaluated_apart(run_digits):
    ran = run_digits(
        *("partition.num_clients=8", "split.client_holdout=0.25", "split.held_out_clients=0.25"),
        *("evaluation.clients=true", "rounds=2"),
    )
    data = loaded("split.client_holdout=0.25", "split.held_out_clients=0.25")
    trained = set(pq.read_table(ran.folder / "clients.parquet")["client"].to_pylist())
    assert trained == set(data.population_ids.tolist())
    assert ran.record.guarantee["population"] == data.client_sizes[data.population_ids].sum()
    names = {name for name in ran.record.metrics if name.startswith("diagnostic_")}
    assert {"diagnostic_client_holdout_accuracy_mean", "diagnostic_held_out_client_holdout_accuracy_mean"} <= names


def test_the_diagnostic_is_of_the_holdout_and_not_of_what_was_trained(run_digits):
    """By hand: the final model on every client's holdout."""
    import torch
    from safetensors.torch import load_file

    from fedpriv.models import logistic

    overrides = ("partition.num_clients=8", "split.client_holdout=0.25", "rounds=2")
    ran = run_digits(*overrides, "evaluation.clients=true")
    data = loaded("split.client_holdout=0.25")
    model = logistic(input_shape=(1, 8, 8), num_outputs=10)
    model.load_state_dict(load_file(ran.folder / "model.safetensors"))
    shares = []
    for k in range(8):
        x, y = data.client_holdout(k)
        with torch.no_grad():
            shares.append(float((model(x).argmax(1) == y).double().mean()))
    assert ran.record.metrics["diagnostic_client_holdout_accuracy_mean"] == pytest.approx(np.mean(shares))


def test_a_partition_that_copies_examples_is_refused(tmp_path, monkeypatch):
    (tmp_path / "copying.py").write_text(
        "import numpy as np\n"
        "from dataclasses import replace\n"
        "from fedpriv.data import Dataset, Examples, Partition\n"
        "def twice(*, dataset: Dataset) -> Partition:\n"
        "    rows = np.tile(np.arange(len(dataset.train)), 2)\n"
        "    train = Examples(dataset.train.x[rows], dataset.train.y[rows])\n"
        "    return Partition(assignment=rows * 0 + np.arange(len(rows)) % 2, dataset=replace(dataset, train=train))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = compose(["experiment=digits_smoke"], config_dir=None)
    config.partition = {"_target_": "copying.twice"}
    with pytest.raises(ConfigError, match="every example is one client's"):
        load_data(config)


def test_code_of_ones_own_is_a_caveat(tmp_path, monkeypatch):
    from fedpriv.experiment import Experiment

    (tmp_path / "mine_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, num_outputs: int):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, num_outputs))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = compose(["experiment=digits_smoke", "model._target_=mine_net.Net"], config_dir=None)
    [caveat] = Experiment.assemble(config).privacy.caveats
    assert "own code (mine_net)" in caveat


def test_a_training_function_for_other_batches_is_told_before_anything_is_written(tmp_path, monkeypatch):
    from fedpriv.experiment import Experiment

    (tmp_path / "dictlike.py").write_text("def train(net, loader):\n    for batch in loader:\n        batch['image']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    overrides = ["experiment=digits_smoke", "privacy=none", "training.function={_target_: dictlike.train}"]
    with pytest.raises(ConfigError, match=r"failed on two examples: TypeError.*pairs \(x, y\)"):
        Experiment.assemble(compose(overrides, config_dir=None))


def test_a_delta_that_promises_little_is_noted(run_digits, silent_reporter):
    told = []
    silent_reporter.started = lambda folder, *, rounds_done, last_round, notes: told.extend(notes)
    central = ("privacy=central", "sampling=all", "partition.num_clients=5", "rounds=1")
    run_digits(*central, reporter=silent_reporter)
    assert len(told) == 1
    assert told[0].startswith("delta is 0.17 (n^-1.1 with n = 5)")
