import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import get_method, instantiate
from omegaconf import OmegaConf

import fedpriv.data
from fedpriv.data import Dataset

CONF = Path(__file__).parents[2] / "conf"


def files(*groups):
    return sorted(file for group in groups for file in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "file", files("data", "partition", "model"), ids=lambda f: f"{f.parent.name}-{f.stem}"
)
def test_a_config_gives_exactly_what_its_target_needs(file):
    config = OmegaConf.load(file)
    parameters = set(inspect.signature(get_method(config["_target_"])).parameters)
    passed = {"labels", "users", "num_classes", "dataset", "rng", "input_shape", "num_outputs", "num_tokens"}
    assert parameters - passed == {str(key) for key in config} - {"_target_"} - passed


@pytest.mark.parametrize("name", ["mnist5k", "digits", "breast_cancer"])
def test_embedded_data_loads_from_its_config(name):
    data = instantiate(OmegaConf.load(CONF / "data" / f"{name}.yaml"), rng=np.random.default_rng(0))
    assert isinstance(data, Dataset)


def test_file_data_loads_from_its_config_with_lists_for_constants(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((10, 2)), y=np.arange(10) % 2)
    config = OmegaConf.load(CONF / "data" / "arrays.yaml")
    config.merge_with({"root": str(tmp_path), "path": "a.npz", "mean": [1.0, 2.0], "std": [1.0, 4.0]})
    data = instantiate(config, rng=np.random.default_rng(0))
    assert data.normalisation.mean == (1.0, 2.0)
    assert data.normalisation.apply(data.test.x)[0].tolist() == [-1.0, -0.5]


@pytest.mark.parametrize("name", ["iid", "dirichlet", "shards"])
def test_default_partitions_suit_the_embedded_data(name):
    labels = np.arange(455) % 2  # breast_cancer, the smallest
    config = OmegaConf.load(CONF / "partition" / f"{name}.yaml")
    assignment = instantiate(config, labels=labels, users=None, num_classes=2, rng=np.random.default_rng(0))
    assert np.bincount(assignment).min() >= config["min_examples"]


def test_public_names_exist():
    assert all(hasattr(fedpriv.data, name) for name in fedpriv.data.__all__)


def test_importing_the_rooms_stays_light():
    code = "import sys, fedpriv.data.sources, fedpriv.data.partitions, fedpriv.models; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"sklearn", "mlxtend", "matplotlib", "pyarrow", "pandas", "rich", "flwr", "opacus", "hydra"}
    assert "fedpriv.models" in shown.split()
    assert heavy.isdisjoint(shown.split())
