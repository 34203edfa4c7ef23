"""Malicious clients on MNIST-5k: docs/attacks/integrity.md has the figures of three seeds."""

import pytest

from fedpriv.config import compose
from fedpriv.experiment import run

SETTING = ("experiment=mnist5k_client_dp", "model=mlp", "rounds=25", "evaluation.every=25", "evaluation.clients=false")
BACKDOOR = ("attack=backdoor", "attack.backdoor.attackers=0.1", "attack.backdoor.boost=replace")


class Silent:
    def __getattr__(self, name):
        return lambda *_, **__: None


def found(tmp_path, *overrides):
    config = compose([*SETTING, *BACKDOOR, f"output_dir={tmp_path}", *overrides], config_dir=None)
    return run(config, reporter=Silent()).extra["attacks"]["backdoor"]


@pytest.mark.slow
def test_a_backdoor_opens_where_nothing_defends_and_no_model_has_it_of_itself(tmp_path):
    told = found(tmp_path, "privacy=none")
    assert told["success"] > 0.8
    assert told["baseline"] < 0.1
    assert told["accuracy"] > told["baseline_accuracy"] - 0.05


@pytest.mark.slow
def test_krum_and_clipping_keep_it_shut_or_nearly(tmp_path):
    flower = ("privacy=none", "strategy=flower", "sampling.cohort=null", "+strategy.flower.fraction_train=0.2")
    krum = ("strategy.flower._target_=flwr.serverapp.strategy.Krum", "+strategy.flower.num_malicious_nodes=4")
    assert found(tmp_path, *flower, *krum)["success"] < 0.3
    assert found(tmp_path, "privacy=central", "privacy.epsilon=8")["success"] < 0.8
