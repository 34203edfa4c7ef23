"""Every file in conf/ composes, and makes what it is there to make."""

import gzip
import re
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import fedpriv
from fedpriv.accounting.claims import LEDGER_NAMES, protected_units
from fedpriv.config import MODEL_KEYS, Config, check, compose, conf_dir, dump, load
from fedpriv.data import Dataset
from fedpriv.errors import ConfigError, DataError
from fedpriv.experiment.assembly import Experiment, load_data
from fedpriv.targets import TARGET, build, partial_target

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
GROUPS = ("attack", "audit", "data", "experiment", "model", "partition", "privacy", "runtime", "sampling", "strategy")
GROUPS += ("tracking", "training")
FILES = [(group, file.stem) for group in GROUPS for file in sorted((conf_dir() / group).glob("*.yaml"))]
SMALL = ["experiment=digits_smoke", "rounds=1"]
SHAPES = {
    **{"logistic": (1, 8, 8), "mlp": (5,), "tabular_mlp": (5,)},
    **{"lenet": (1, 28, 28), "cnn": (3, 32, 32), "resnet": (3, 32, 32)},
    **{"lstm": (50, 6), "transformer": (50, 6), "char_lstm": (80,), "char_transformer": (80,)},
}
# What its files are called below data.root, and what it reaches.
NEEDS = {
    "mnist_writers_client_dp": "mnist",
    "heart_disease_silos": "heart_disease",
    "adult_table": "adult",
    "compas_table": "compas",
    "har_subjects": "har_sp_sw",
    "shakespeare_roles": "shakespeare_tiny",
    "tcga_survival": "tcga_brca",
    "fashion_example_dp": "fashion_mnist",
    "cifar_client_dp": "cifar10",
}
CLIENTS = {"heart_disease_silos": 4, "tcga_survival": 6, "mnist_writers_client_dp": 539, "mnist5k_rare_digit": 1}


def choices(group: str) -> list[str]:
    return [name for g, name in FILES if g == group]


def composed(group: str, name: str) -> Config:
    return compose([f"{group}={name}"], config_dir=None)


def write_idx(file: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    file.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[str]]:
    """Overrides that give the loaders of files something small to read."""
    rng = np.random.default_rng(0)
    x, y, user = rng.integers(0, 256, (60, 28, 28)), np.arange(60) % 10, np.arange(60) // 6
    for name, array in (("x.gz", x), ("y.gz", y), ("user.gz", user)):
        write_idx(tmp_path / name, array)
    np.savez(tmp_path / "a.npz", x=x[:, None].astype(np.float32), y=y, user=user)
    for label in range(2):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(x[number].astype(np.uint8)).save(tmp_path / "images" / str(label) / f"u{number % 3}_1.png")
    Image.fromarray(rng.integers(0, 256, (320, 320, 3)).astype(np.uint8)).save(tmp_path / "sheet.png")
    np.save(tmp_path / "labels.npy", np.arange(100) % 5)
    times = np.arange(600)
    np.savez(tmp_path / "w.npz", x=rng.normal(size=(600, 2)), label=times % 2, subject=times // 150, run=times // 75)
    speech = "\n".join("To be, or not to be, that is the question." for _ in range(30))
    (tmp_path / "play.txt").write_text("\n\n".join(f"{name}:\n{speech}" for name in ("ANNA", "BEN", "CARL")))
    rows = "\n".join(f"{i},{'ab'[i % 2]},{i % 3},{i % 2}" for i in range(60))
    (tmp_path / "table.csv").write_text(f"age,kind,who,label\n{rows}\n")
    root = f"data.root={tmp_path}"
    return {
        "images": [root, "data.path=images", "data.user_pattern='^(u[0-9])_'"],
        "sheets": [root, "data.paths=[sheet.png]", "data.label=labels.npy"],
        "windows": [root, "data.path=w.npz", "data.user=subject", "data.recording=run"],
        "characters": [root, "data.path=play.txt"],
        "table": [root, "data.path=table.csv", "data.label=label", "data.user=who", "+data.numeric.age=[0,60]"],
        "idx": [root, "data.path=x.gz", "data.label=y.gz", "data.user=user.gz"],
        "arrays": [root, "data.path=a.npz", "data.user=user"],
    }


def test_all_groups_are_known():
    assert {path.name for path in conf_dir().iterdir() if path.is_dir()} == set(GROUPS)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_file_composes_and_survives_being_written(group, name, tmp_path):
    config = composed(group, name)
    (tmp_path / "config.yaml").write_text(dump(config))
    assert asdict(load(tmp_path / "config.yaml")) == asdict(config)


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_file_says_what_it_is_for(group, name):
    lines = (conf_dir() / group / f"{name}.yaml").read_text().splitlines()
    said = [line for line in lines if line.startswith("# ") and not line.startswith("# @")]
    assert said
    assert lines.index(said[0]) <= 1  # `fedpriv run --help` shows it


@pytest.mark.parametrize("name", [name for name in choices("data") if name != "huggingface"])  # an extra
def test_every_data_choice_loads(name, files):
    config = compose([*SMALL, f"data={name}", *files.get(name, [])], config_dir=None)
    data = build(config.data, expected=Dataset, where="data", rng=np.random.default_rng(0))
    assert len(data.train) > len(data.test) > 0
    assert (data.users is not None) == (name in files)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in choices("partition") if name != "pooled"])
def test_every_partition_divides_data(name, files):
    some = ["partition.num_clients=5", "partition.min_examples=1"]
    config = compose([*SMALL, "data=arrays", *files["arrays"], f"partition={name}", *some], config_dir=None)
    data = load_data(config)
    assert data.num_clients == 5
    assert data.client_sizes.min() >= 1


def test_a_pooled_partition_is_one_client():
    data = load_data(compose([*SMALL, "partition=pooled"], config_dir=None))
    assert (data.num_clients, data.client_sizes.tolist()) == (1, [len(data.train)])


@pytest.mark.slow
@pytest.mark.parametrize("name", choices("model"))
def test_every_model_gives_logits(name):
    config = compose([*SMALL, f"model={name}"], config_dir=None)
    shape = SHAPES[name]
    own = {key: value for key, value in config.model.items() if key not in MODEL_KEYS}
    tokens = 80 if len(shape) == 1 and name.startswith("char") else None
    offered = {"input_shape": shape, "num_outputs": 10, "num_tokens": tokens}
    model = build(own, expected=nn.Module, where="model", **offered)
    x = torch.zeros(2, *shape, dtype=torch.float32 if tokens is None else torch.int64)
    assert model(x).shape == ((2, 10) if tokens is None else (2, 80, 10))


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), [f for f in FILES if f[0] in ("training", "strategy")])
def test_every_optimizer_makes_a_step(group, name):
    config = compose([*SMALL, f"{group}={name}"], config_dir=None)
    spec = getattr(config, group).optimizer
    offered = {"lr": config.training.lr} if group == "training" else {}
    make = partial_target(
        spec, expected=torch.optim.Optimizer, where=f"{group}.optimizer", positional=1, **offered
    )
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.ones(3)
    make([weight]).step()
    assert (weight < 0).all()


@pytest.mark.parametrize(("group", "name"), [f for f in FILES if f[0] in ("privacy", "sampling", "runtime")])
def test_every_mechanism_sampling_and_runtime_assembles(group, name):
    turns = {"round_robin": ["sampling.separation=2"], "cyclic_poisson": ["sampling.cohort=2", "sampling.separation=2"]}
    drawn = {kind: ["sampling.cohort=5"] for kind in ("poisson", "fixed_size")}
    drawn["capped_poisson"] = ["sampling.cohort=5", "sampling.cap=6"]
    some = {**turns, **drawn}.get(name, [])
    experiment = Experiment.assemble(compose([*SMALL, f"{group}={name}", *some], config_dir=None))
    streams = experiment.streams(None)
    cohort = experiment.sampler(streams).cohort(1)
    mechanism = experiment.privacy.mechanism(np.ones(experiment.privacy.num_multipliers), streams, None)
    entries = mechanism.entries(round_number=1, attempt=0, cohort=cohort, state=mechanism.initial_state())
    chosen = experiment.config.privacy.mechanism
    assert [entry.mechanism for entry in entries] == list(LEDGER_NAMES[chosen])
    assert [entry.unit for entry in entries] == list(protected_units(chosen))
    if group == "sampling" and name != "auto":
        assert experiment.sampler(streams).law.kind == name


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_preset_assembles(name):
    overrides = [f"experiment={name}"]
    if name in NEEDS:
        if not (REAL_DATA / NEEDS[name]).is_dir():
            pytest.skip(f"needs ../shared/data/{NEEDS[name]}")
        overrides.append(f"data.root={REAL_DATA}")
    config = compose(overrides, config_dir=None)
    experiment = Experiment.assemble(config)
    assert config.name == name
    assert (config.privacy.epsilon is None) == (name in ("mnist5k_no_privacy", "tcga_survival"))
    assert experiment.data.num_clients >= 10 or experiment.data.num_clients == CLIENTS[name]
    assert re.fullmatch("[0-9a-f]{12}", experiment.run_id())
    if name in CLIENTS:
        assert experiment.data.num_clients == CLIENTS[name]  # hospitals, regions, QMNIST's writers


def test_the_default_is_the_preset_of_that_name():
    assert asdict(compose([], config_dir=None)) == asdict(composed("experiment", "mnist5k_example_dp"))


def test_the_writers_preset_asks_for_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*data\.root=DIR"):
        Experiment.assemble(compose(["experiment=mnist_writers_client_dp"], config_dir=None))


def test_a_folder_of_ones_own_adds_presets_and_groups(tmp_path):
    for group in ("experiment", "model"):
        (tmp_path / group).mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: wide\nname: mine\nprivacy:\n  epsilon: 3\n"
    )
    (tmp_path / "model" / "wide.yaml").write_text("_target_: fedpriv.models.mlp\nhidden: [256]\n")
    config = compose(["experiment=mine", "data=digits"], config_dir=tmp_path)
    assert (config.name, config.model["hidden"], config.privacy.epsilon) == ("mine", [256], 3.0)
    assert config.data[TARGET] == "fedpriv.data.sources.digits"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("privcy.epsilon=3", "privcy"),
        ("privacy.epsilom=3", "epsilom"),
        ("data=mnist6k", "mnist6k"),
        ("experiment=nothing", "nothing"),
        ("rounds=many", "rounds"),
        ("rounds=0", "rounds=0 must be at least 1"),
        ("privacy.epsilon=0", "privacy.epsilon=0.0 must be > 0"),
        ("privacy.clipping_norm=1", "privacy.clipping_norm has no meaning with privacy=example"),
        ("sampling.cohort=-1", "sampling.cohort=-1.0 must be a positive number"),
        ("federation.dropout=1", "federation.dropout=1.0 must be in"),
        ("seeds.noise=secrets", "secrets must be a whole number >= 0 or secret"),
        ("privacy.accountant=pdl", "use one of auto, pld, rdp, prv, opacus_rdp"),
        ("training.engine=sgd", "use training.engine=opacus, vectorized or auto"),
    ],
)
def test_a_slip_is_one_message_that_names_it(override, message):
    with pytest.raises(ConfigError) as caught:
        compose([override], config_dir=None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_another_choice_than_the_presets_is_as_it_would_be_without_it(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /partition: dirichlet\n  - override /data: idx\n"
        "  - override /model: mlp\n  - override /privacy: none\nname: m\npartition:\n  alpha: 3.0\n  num_clients: 7\n"
        "data:\n  path: a\n  test_fraction: 0.4\nmodel:\n  hidden: [9]\n"
    )

    def mine(*overrides):
        return compose(["experiment=mine", *overrides], config_dir=tmp_path)

    assert mine().partition["alpha"] == mine("partition=dirichlet").partition["alpha"] == 3.0
    assert mine("data=idx").data["path"] == "a"
    other = mine("partition=iid", "data=arrays", "data.path=b", "model=lenet")
    assert other.partition == {"_target_": "fedpriv.data.partitions.iid", "num_clients": 7, "min_examples": 1}
    assert (other.data["path"], other.data["test_fraction"]) == ("b", 0.2)
    assert "hidden" not in other.model
    assert mine("partition=shards", "partition.num_clients=4").partition["num_clients"] == 4
    assert mine("data=digits", "model=logistic", "model.trainable=['output.*']").model["trainable"] == ["output.*"]
    with pytest.raises(ConfigError, match="There is no key alpha"):
        mine("partition=iid", "partition.alpha=1")


def test_a_preset_of_another_mechanism_may_be_switched_off():
    config = compose(["experiment=mnist5k_client_dp", "privacy=none"], config_dir=None)
    assert (config.privacy.epsilon, config.privacy.clipping_norm) == (None, None)


def test_checking_twice_changes_nothing():
    config = compose([], config_dir=None)
    before = asdict(config)
    assert asdict(check(config, chosen=[])) == before


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert fedpriv.__version__ == version("fedpriv")
