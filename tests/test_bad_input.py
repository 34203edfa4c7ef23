"""What a clumsy user gives: one message with the mend, exit code 2, no traceback, nothing half-written."""

import gzip
import shutil
import sys

import numpy as np
import pytest

MODULE = "models_of_a_clumsy_user"
SOURCE = """
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedpriv.data import Dataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x):
        return self.layer(x.flatten(1))


class BatchNorm(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)

    def forward(self, x):
        return self.layer(self.norm(x.flatten(1)))


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(8, 8, batch_first=True)
        self.layer = nn.Linear(8, 10)

    def forward(self, x):
        return self.layer(self.memory(x[:, 0])[0][:, -1])


class MixesExamples(Net):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class Remembers(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += x.sum()
        return super().forward(x)


class HasAnIdleLayer(Net):
    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(2, 2)


class Frozen(Net):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)


class WrongOutput(Net):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 7)


class WrongInput(Net):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(99, 10)


class ReturnsATuple(Net):
    def forward(self, x):
        return (super().forward(x),)


class CannotBeMade(Net):
    def __init__(self):
        raise RuntimeError("no luck")


class OfAnotherType:
    def __init__(self, **keys):
        Path("called").touch()


def unannotated(**keys):
    Path("called").touch()
    return Net()


def returns_another_type(**keys) -> dict:
    Path("called").touch()
    return {}


def breaks_its_promise() -> nn.Module:
    return None


def gives_no_dataset(*, test_fraction, scale, mean, std) -> Dataset:
    return None


def owners_of_another_shape(*, num_clients, min_examples) -> np.ndarray:
    return np.zeros(3, dtype=np.int64)


def owners_that_are_floats(*, labels, num_clients, min_examples) -> np.ndarray:
    return np.zeros(len(labels))


def owners_beyond(*, labels, num_clients, min_examples) -> np.ndarray:
    return np.full(len(labels), 99)


NUMBER = 3
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A current folder with a module and with data, most of it broken."""
    folder = tmp_path_factory.mktemp("files")
    (folder / f"{MODULE}.py").write_text(SOURCE)
    rng = np.random.default_rng(0)
    x, y, user = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2, np.arange(60) % 3
    np.savez(folder / "fine.npz", x=x, y=y, user=user)
    np.savez(folder / "nan.npz", x=np.where(np.arange(240).reshape(60, 4) == 14, np.nan, x), y=y)
    np.savez(folder / "infinite.npz", x=np.where(np.arange(240).reshape(60, 4) == 14, np.inf, x), y=y)
    np.savez(folder / "objects.npz", x=np.array([1, "a", None], dtype=object), y=y)
    np.savez(folder / "halves.npz", x=x, y=y + 0.5)
    np.savez(folder / "texts.npz", x=x, y=np.array(["a", "b"] * 30))
    np.savez(folder / "short.npz", x=x, y=y[:50])
    np.savez(folder / "gap.npz", x=x, y=y * 5)
    np.save(folder / "single.npy", x)
    whole = (folder / "fine.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "damaged.npz").write_bytes(whole[:200] + bytes(60) + whole[260:])
    (folder / "text.npz").write_text("hello")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "folder.npz").mkdir()

    images, labels = rng.integers(0, 255, (50, 8, 8), dtype=np.uint8), (np.arange(50) % 5).astype(np.uint8)
    (folder / "images").write_bytes(idx(images))
    (folder / "labels").write_bytes(idx(labels))
    (folder / "fewer").write_bytes(idx(labels[:20]))
    (folder / "table").write_bytes(idx(np.stack([labels, labels], axis=1)))
    (folder / "images_truncated").write_bytes(idx(images)[:-10])
    zipped = gzip.compress(idx(images))
    (folder / "images_truncated.gz").write_bytes(zipped[: len(zipped) // 2])
    (folder / "images_damaged.gz").write_bytes(zipped[:300] + bytes([zipped[300] ^ 255]) + zipped[301:])
    (folder / "file").write_text("a file where a folder is needed")
    return folder


def idx(array):
    """The MNIST format, unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def refused(command, files, tmp_path):
    """Runs a command that must be refused; returns its message."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    before = sorted(tmp_path.rglob("*"))

    def call(*arguments):
        outcome = command(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("fedpriv: ")
        assert outcome.err.count("\n") == 1  # one message
        assert "Traceback" not in outcome.err
        assert outcome.out == ""
        ignored = {"__pycache__"}
        left = [p for p in sorted(tmp_path.rglob("*")) if p not in before and not ignored & set(p.parts)]
        assert left == []
        return outcome.err

    yield call
    sys.modules.pop(MODULE, None)


DIGITS = ["run", "experiment=digits_smoke"]
CLIENTS = [*DIGITS, "privacy=central", "sampling.cohort=3"]
ARRAYS = ["run", "data=arrays", "partition=iid", "partition.min_examples=1", "model=logistic"]
IDX = ["run", "data=idx", "partition=iid", "partition.min_examples=1", "model=logistic"]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["privacy.epsilom=3"], "Did you mean privacy.epsilon?"),
        (["privcy=central"], "Did you mean privacy?"),
        (["privacy=nosuch"], "use one of both_units, central, "),
        (["+new.key=1"], "There is no key or group new."),
        (["rounds=many"], "a whole number is asked for"),
        (["rounds"], "is not KEY=VALUE or GROUP=CHOICE"),
        (["privacy.epsilon=0"], "must be > 0"),
        (["privacy.epsilon=nan"], "must be > 0"),
        (["privacy.clipping_norm=1"], "has no meaning with privacy=example"),
        (["--config-dir=nosuch"], "there is no folder nosuch"),
        (["output_dir=file"], "Choose another output_dir"),
        (["output_dir=file/below"], "Choose another output_dir"),
        (["output_dir=/proc/fedpriv"], "Choose another output_dir"),
        (["output_dir=/dev/null"], "Choose another output_dir"),
        (["name=a/b"], "must be the name of a folder"),
        (["device=nonsense"], "use cpu, cuda or cuda:N."),
        (["device=meta"], "use cpu, cuda or cuda:N."),
        (["device=cuda:99"], "use device=cpu"),
        (["privacy.delta=0.01"], "privacy.delta=0.01 is not below 1/n"),
        (["privacy.delta=1e-3"], "set privacy.accept_weak_delta=true"),
        (["privacy.relation=replace_one", "privacy.accountant=rdp"], "set privacy.accountant=pld"),
        (["partition.num_clients=100000"], "choose at most 1438 clients"),
        (["partition.num_clients=0"], "choose a whole number >= 1"),
        (["partition.num_clients=2.5"], "partition.num_clients=2.5 must be a whole number."),
        (["partition.num_clients=null"], "partition.num_clients=null must be a whole number."),
        (["partition.min_examples=1000"], "lower partition.num_clients or partition.min_examples"),
        (["partition=dirichlet", "partition.alpha=0"], "choose a number > 0"),
        (["partition=natural"], "this data has no user ids"),
        (["sampling.cohort=11"], "exceeds the population of 10 clients"),
        (["sampling=all", "sampling.cohort=5"], "(sampling.cohort=null) or use sampling=poisson or fixed_size."),
        (["sampling=fixed_size", "sampling.cohort=2.5"], "needs a whole sampling.cohort, not 2.5."),
        (["data.test_fraction=2"], "choose one between 0 and 1"),
        (["data.std=0"], "std > 0"),
        (["model=lenet"], "use model=resnet, cnn, mlp or logistic."),
        (["model=mlp", "model.hidden=5"], "model.hidden=5 must be a list [a whole number, ...]."),
        (["model=mlp", "model.hidden=[0]"], "needs a width of at least 1"),
        (["strategy.optimizer.lr=-1"], "strategy.optimizer: Invalid learning rate: -1."),
        (["strategy.optimizer.lr=abc"], "strategy.optimizer.lr=abc must be a number"),
        (["strategy.optimizer._target_=torch.optim.LBFGS"], "LBFGS cannot take a plain step"),
        (["training.optimizer._target_=torch.optim.SparseAdam"], "SparseAdam cannot take a plain step"),
        (["+training.optimizer.momentm=0.9"], "It takes: params, lr, momentum"),
    ],
)
def test_an_experiment_that_cannot_be_run_as_asked(refused, overrides, told):
    assert told in refused(*DIGITS, *overrides)


@pytest.mark.parametrize("accountant", ["prv", "pld", "opacus_rdp"])
def test_cohorts_of_fixed_size_are_not_accounted_as_poisson(refused, accountant):
    told = refused(*CLIENTS, "sampling=fixed_size", f"privacy.accountant={accountant}")
    assert f"privacy.accountant={accountant} cannot judge cohorts of fixed size: set privacy.accountant=rdp" in told


def test_cohorts_of_fixed_size_have_no_add_or_remove_one_guarantee(refused):
    told = refused(*CLIENTS, "sampling=fixed_size", "privacy.relation=add_or_remove_one")
    assert "set privacy.relation=replace_one or zero_out" in told


@pytest.mark.parametrize("accountant", ["rdp", "prv", "opacus_rdp"])
def test_poisson_under_replace_one_is_judged_by_pld_only(refused, accountant):
    told = refused(*CLIENTS, "sampling=poisson", "privacy.relation=replace_one", f"privacy.accountant={accountant}")
    assert "set privacy.accountant=pld" in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("BatchNorm", "Layer 'norm' (BatchNorm1d) mixes or remembers examples of a batch"),
        ("BatchNorm", "set fix_model=true"),
        ("Lstm", "Layer 'memory' (LSTM) has no per-example gradient in Opacus."),
        ("MixesExamples", "The model mixes the examples of a batch"),
        ("Remembers", "buffer 'seen' changes while it trains"),
        ("HasAnIdleLayer", "parameter 'idle.weight' takes no part in the output"),
        ("Frozen", "has no trainable parameter"),
        ("WrongOutput", "returns (2, 7), but this task asks for (2, 10)"),
        ("WrongInput", "does not accept inputs of shape (1, 8, 8)"),
        ("ReturnsATuple", "returns tuple, but this task asks for (2, 10)"),
        ("CannotBeMade", "CannotBeMade failed: RuntimeError: no luck"),
        ("breaks_its_promise", "returned NoneType, but torch.nn.Module is asked for."),
        ("NUMBER", "there is no class or function"),
        ("nothing", "there is no class or function"),
    ],
)
def test_a_model_that_cannot_be_trained_as_asked(refused, model, told):
    assert told in refused(*DIGITS, f"model._target_={MODULE}.{model}")


@pytest.mark.parametrize("privacy", ["none", "central"])
@pytest.mark.parametrize("model", ["BatchNorm", "Remembers"])
def test_what_remembers_examples_is_refused_whatever_protects(refused, model, privacy):
    overrides = [f"privacy={privacy}", *(["privacy.epsilon=8"] if privacy == "central" else [])]
    refused(*DIGITS, f"model._target_={MODULE}.{model}", *overrides)


@pytest.mark.slow
@pytest.mark.parametrize("group", ["model", "data", "partition", "training.optimizer", "strategy.optimizer"])
@pytest.mark.parametrize("target", ["OfAnotherType", "unannotated", "returns_another_type"])
def test_a_target_of_another_type_is_refused_before_it_is_called(refused, tmp_path, group, target):
    told = refused(*DIGITS, f"{group}._target_={MODULE}.{target}")
    assert f"{group}._target_: {MODULE}.{target} does not make a " in told
    assert not (tmp_path / "called").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "told"),
    [
        (f"data._target_={MODULE}.gives_no_dataset", "returned NoneType, but fedpriv.data.Dataset is asked for."),
        (f"partition._target_={MODULE}.owners_of_another_shape", "must give one client id (an integer) per example"),
        (f"partition._target_={MODULE}.owners_that_are_floats", "must give one client id (an integer) per example"),
        (f"partition._target_={MODULE}.owners_beyond", "ids are 0 ... num_clients - 1"),
        ("model._target_=no_such_module.Net", "there is no class or function no_such_module.Net."),
        ("model._target_=os.system", "os.system does not make a torch.nn.Module"),
        ("model._target_=undotted", "must be a dotted name"),
        ("data._target_=torch.nn.Linear", "does not make a fedpriv.data.Dataset"),
    ],
)
def test_a_target_that_gives_something_else(refused, override, told):
    assert told in refused(*DIGITS, override)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "data.path is not set: give the file"),
        (["data.path=nosuch.npz"], "There is no file nosuch.npz."),
        (["data.path=fine.npz", "data.root=nosuch"], "There is no file nosuch/fine.npz."),
        (["data.path=folder.npz"], "There is no file folder.npz."),
        (["data.path=5"], "data.path=5 must be a text or null."),
        (["data.path=nan.npz"], "hold NaN or infinity (first in row 3)"),
        (["data.path=infinite.npz"], "hold NaN or infinity (first in row 3)"),
        (["data.path=objects.npz"], "store plain numbers"),
        (["data.path=halves.npz"], "are not whole numbers"),
        (["data.path=texts.npz"], "are not whole numbers"),
        (["data.path=short.npz"], "have 50 entries for 60 examples"),
        (["data.path=gap.npz"], "are not 0 ... K-1"),
        (["data.path=single.npy"], "write x and y together with numpy.savez"),
        (["data.path=truncated.npz"], "is not a readable npz file"),
        (["data.path=damaged.npz"], "is damaged"),
        (["data.path=text.npz"], "is not a readable npz file"),
        (["data.path=empty.npz"], "is not a readable npz file"),
        (["data.path=fine.npz", "data.label=z"], "has no array 'z' (it has: x, y, user): set data.label"),
        (["data.path=fine.npz", "data.label=null"], "data.label=null must be a text."),
        (["data.path=fine.npz", "data.label=x"], "store one label per example"),
        (["data.path=fine.npz", "data.features=z"], "set data.features to one of them"),
        (["data.path=fine.npz", "data.user=z", "partition=natural"], "set data.user to one of them"),
        (["data.path=fine.npz", "partition=natural"], "set data.user"),
        (["data.path=fine.npz", "data.num_classes=1"], "there are 1 classes"),
        (["data.path=fine.npz", "data.num_classes=two"], "data.num_classes=two must be a whole number or null."),
        (["data.path=fine.npz", "data.mean=[1,2]"], "data.mean has 2 values"),
        (["data.path=fine.npz", "partition.num_clients=100"], "choose at most 48 clients"),
    ],
)
def test_arrays_that_cannot_be_trained_on(refused, overrides, told):
    assert told in refused(*ARRAYS, *overrides)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.label=labels"], "data.path is not set"),
        (["data.path=images"], "data.label is not set"),
        (["data.path=images_truncated", "data.label=labels"], "it is truncated or damaged"),
        (["data.path=images_truncated.gz", "data.label=labels"], "is a damaged or truncated gzip file"),
        (["data.path=images_damaged.gz", "data.label=labels"], "is a damaged or truncated gzip file"),
        (["data.path=fine.npz", "data.label=labels"], "use data=arrays for npz"),
        (["data.path=empty.npz", "data.label=labels"], "is not an idx file (it starts with nothing)"),
        (["data.path=images", "data.label=fewer"], "have 20 entries for 50 examples"),
        (["data.path=images", "data.label=images"], "data.label_column"),
        (["data.path=labels", "data.label=images"], "data.path is the examples, data.label the labels."),
        (["data.path=images", "data.label=table"], "choose data.label_column=0 ... 1"),
        (["data.path=images", "data.label=table", "data.label_column=7"], "choose data.label_column=0 ... 1"),
        (["data.path=images", "data.label=labels", "data.test_path=images"], "Set both data.test_path and"),
    ],
)
def test_idx_files_that_cannot_be_trained_on(refused, overrides, told):
    assert told in refused(*IDX, *overrides)


@pytest.mark.parametrize("root", [[], ["data.root=nosuch"]])
def test_mnist_by_writers_without_its_files_names_the_root(refused, root):
    assert "data.root" in refused("run", "experiment=mnist_writers_client_dp", *root)


@pytest.mark.parametrize("name", ["resume", "show", "verify"])
def test_a_folder_that_is_no_run(refused, tmp_path, name):
    assert "There is no run folder at nosuch." in refused(name, "nosuch")
    assert "There is no run folder at file." in refused(name, "file")
    assert "run.json" in refused(name, ".")


def test_a_picture_that_cannot_be_written(command, tmp_path):
    outcome = command("data", "experiment=digits_smoke", "--png=nosuch/x.png")
    assert outcome.code == 2
    assert outcome.err == "fedpriv: Cannot write the picture nosuch/x.png: No such file or directory.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["run", "--multirun", "rounds=1"], "unrecognized arguments: --multirun"),
        (["resume"], "the following arguments are required: RUN"),
        (["show", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_a_command_that_there_is_not(command, arguments, told):
    outcome = command(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("usage: fedpriv")
    assert told in outcome.err


# -- what mends it -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("model", ["BatchNorm", "Lstm"])
def test_fix_model_mends_unsupported_layers_and_then_it_trains(command, files, tmp_path, model):
    shutil.copy(files / f"{MODULE}.py", tmp_path)
    outcome = command(*DIGITS, f"model._target_={MODULE}.{model}", "fix_model=true", "rounds=1")
    sys.modules.pop(MODULE, None)
    assert (outcome.code, outcome.err) == (0, "")
    assert "completed" in outcome.out


def test_a_layer_without_per_example_gradients_trains_where_none_are_needed(command, files, tmp_path):
    shutil.copy(files / f"{MODULE}.py", tmp_path)
    outcome = command(*DIGITS, f"model._target_={MODULE}.Lstm", "privacy=none", "rounds=1")
    sys.modules.pop(MODULE, None)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.slow
def test_accept_weak_delta_lets_a_weak_delta_through(command):
    outcome = command(*DIGITS, "privacy.delta=0.01", "privacy.accept_weak_delta=true", "rounds=1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "at delta 0.01;" in outcome.out
