"""Without privacy there is much to find, and it is found."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data"


def silent(_: str) -> None:
    return


@pytest.mark.slow
def test_a_client_of_the_population_is_told_from_one_that_never_took_part(run_digits, tmp_path):
    ran = run_digits(
        "privacy=none",
        "split.held_out_clients=0.5",
        "partition.num_clients=60",
        "rounds=8",
        "training.lr=0.2",
        "attack=[client_cosine,client_regression]",
        "attack.client_cosine.sees=updates",
        output_dir=tmp_path,
    )
    for name in ("client_cosine", "client_regression"):
        found = ran.record.extra["attacks"][name]
        assert (found["level"], found["members"], found["non_members"]) == ("client", 30, 30)
        assert found["auc_interval"][0] > 0.7, name


@pytest.mark.slow
@pytest.mark.parametrize("sees", ["updates", pytest.param("global_models", marks=pytest.mark.slow)])
def test_examples_are_found_in_what_their_clients_send(run_digits, tmp_path, sees):
    ran = run_digits(
        "privacy=none",
        "model=mlp",
        "split.client_holdout=0.5",
        "partition.num_clients=20",
        "sampling.cohort=5",
        "rounds=8",
        "training.lr=0.2",
        "attack=[update_cosine,loss_drop]",
        f"attack.update_cosine.sees={sees}",
        "attack.update_cosine.candidates=300",
        output_dir=tmp_path,
    )
    found = ran.record.extra["attacks"]
    assert found["update_cosine"]["auc_interval"][0] > 0.5
    assert found["loss_drop"]["auc_interval"][0] > 0.5


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "location30").is_dir(), reason="needs ../shared/data/location30")
def test_lira_finds_members_of_an_overfit_model_of_location_30(run_digits, tmp_path):
    """docs/attacks.md has the figures, and published ones."""
    with tarfile.open(SHARED / "location30" / "dataset_location.tgz") as archive:
        rows = [line.decode().strip().split(",") for line in archive.extractfile("bangkok")]
    x, y = np.array([row[1:] for row in rows], dtype=np.float32), np.array([int(row[0].strip('"')) for row in rows])
    np.savez(tmp_path / "location30.npz", x=x, y=y - 1)
    ran = run_digits(
        "data=arrays",
        f"data.path={tmp_path / 'location30.npz'}",
        "privacy=none",
        "model=mlp",
        "model.hidden=[128]",
        "partition=pooled",
        "split.client_holdout=0.5",
        "training.lr=0.2",
        "rounds=60",
        "attack=[loss_threshold,lira_online,lira_offline,rmia]",
        "attack.rmia.shadows=16",
        output_dir=tmp_path,
    )
    found = ran.record.extra["attacks"]
    assert found["lira_online"]["auc_interval"][0] > 0.90
    assert found["lira_online"]["auc_interval"][0] > found["loss_threshold"]["auc_interval"][1]
    assert found["lira_online"]["tpr_at_1pct_fpr_interval"][0] > 0.3
    assert found["lira_online"]["tpr_at_0_1pct_fpr"] is None  # 2,004 non-members
    for name in ("lira_offline", "rmia"):
        assert found[name]["auc_interval"][0] > found["loss_threshold"]["auc_interval"][1]
