"""What pretraining on public data is worth under client-level DP: real images, real writers, one epsilon."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
PUBLIC = ("experiment=fashion_example_dp", "data.public=true", "privacy=none", "partition=iid", "rounds=3")
STEPS = ("partition.num_clients=5", "training.batch_size=32", "training.lr=0.1")
WRITERS = ("experiment=mnist_writers_client_dp", "privacy.epsilon=0.5", "rounds=10")


@pytest.fixture(scope="module")
def accuracy(tmp_path_factory):
    from fedpriv.config import compose
    from fedpriv.experiment import run

    class Silent:
        def __getattr__(self, name):
            return lambda *args, **kwargs: setattr(self, "folder", args[0]) if name == "finished" else None

    def trained(*overrides):
        folder, reporter = tmp_path_factory.mktemp("runs"), Silent()
        common = ("evaluation.clients=false", "evaluation.every=100", f"data.root={DATA}", f"output_dir={folder}")
        record = run(compose([*overrides, *common], config_dir=None), reporter=reporter)
        return record, reporter.folder / "model.safetensors"

    return trained


@pytest.mark.slow
@pytest.mark.skipif(
    not ((DATA / "fashion_mnist").is_dir() and (DATA / "mnist").is_dir()), reason="needs ../shared/data"
)
def test_a_pretrained_model_beats_training_from_nothing_at_the_same_epsilon(accuracy):
    """Last layers, and LoRA adapters on the first dense layer beside the last one."""
    public, weights = accuracy(*PUBLIC, *STEPS)
    assert public.guarantee is None
    assert public.extra["task"]["public_data"]
    init = f"model.init={weights}"
    runs = {
        "scratch": accuracy(*WRITERS)[0],
        "last layers": accuracy(*WRITERS, init, "model.trainable=['fc*']")[0],
        "lora": accuracy(
            *WRITERS,
            init,
            "rounds=25",
            *("model.lora_rank=8", "model.lora_alpha=2", "model.lora_layers=['fc1']", "model.trainable=['fc2.*']"),
        )[0],
    }
    reached = {name: record.metrics["test_accuracy"] for name, record in runs.items()}
    assert all(record.guarantee["epsilon"] <= 0.5 for record in runs.values())
    assert reached["last layers"] > reached["scratch"] + 0.05, reached
    assert reached["lora"] > reached["scratch"] + 0.05, reached
