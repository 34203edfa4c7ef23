"""Membership attacks by sensitive group and by decile of clients."""

from dataclasses import replace

import numpy as np
import pytest

from fedpriv.config import compose
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.challenge import example_challenge
from fedpriv.experiment.attacking.parts import by_decile, by_group


@pytest.mark.parametrize("holdout", ["0", "0.5"])
def test_candidates_are_of_the_group_that_the_data_gives_them(holdout):
    """With test examples as non-members, too, whose rows go on where training examples end."""
    config = compose(["experiment=digits_smoke", f"split.client_holdout={holdout}"], config_dir=None)
    data = Experiment.assemble(config).data
    labels = np.concatenate([data.train.y, data.test.y])
    data = replace(data, groups={"digit": labels.astype(np.int64)}, group_names={})
    challenge = example_challenge(data, np.random.default_rng(1))
    found = by_group(challenge, data)["digit"]
    assert sum(own.sum() for own in found.values()) == len(challenge.members)
    for name, own in found.items():
        rows = np.concatenate([challenge.groups[i] for i in np.flatnonzero(own)])
        assert set(challenge.data.train.y[rows].tolist()) == {int(name)}


@pytest.mark.slow
def test_deciles_are_of_clients_from_the_smallest_and_share_all_candidates(run_digits, tmp_path):
    own = ("privacy=none", "rounds=1", "partition=dirichlet", "partition.num_clients=20", "split.client_holdout=0.5")
    ran = run_digits(*own, "attack=loss_threshold", output_dir=tmp_path)
    found = ran.record.extra["attacks"]["loss_threshold"]
    deciles = found["by_decile"]
    assert list(deciles) == [str(i) for i in range(1, 11)]
    assert sum(one["members"] for one in deciles.values()) == found["members"]
    assert sum(one["non_members"] for one in deciles.values()) == found["non_members"]
    assert [one["members"] for one in deciles.values()] == sorted(one["members"] for one in deciles.values())
    assert deciles["10"]["auc_interval"][0] < deciles["10"]["auc"] < deciles["10"]["auc_interval"][1]
    assert "by_group" not in found  # the digits name no group


def test_too_few_clients_have_no_deciles():
    data = Experiment.assemble(compose(["experiment=digits_smoke", "partition.num_clients=9"], config_dir=None)).data
    assert by_decile(example_challenge(data, np.random.default_rng(1)), data) == {}
