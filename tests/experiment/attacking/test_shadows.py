"""Shadow models: the run's own experiment on halves of the pool, made once, some now and the rest later."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from fedpriv.attacks.scoring import score
from fedpriv.config import compose
from fedpriv.experiment import attack_run
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.candidates import Candidates
from fedpriv.experiment.attacking.challenge import example_challenge
from fedpriv.experiment.attacking.shadows import Shadows
from fedpriv.records.checkpoint import save_model
from fedpriv.records.run_folder import RunFolder
from fedpriv.streams import Streams, seed_key

SMALL = ("experiment=digits_smoke", "split.client_holdout=0.5", "rounds=2")
LIRA = {"_target_": "fedpriv.attacks.membership.LiraOnline", "shadows": 4, "variance": "fixed"}


def silent(_: str) -> None:
    return


def shadows(folder: Path, *overrides: str) -> Shadows:
    experiment = Experiment.assemble(compose([*SMALL, *overrides], config_dir=None))
    return Shadows(
        experiment=experiment,
        challenge=example_challenge(experiment.data, np.random.default_rng(0)),
        rounds=2,
        noise_multipliers=np.full(experiment.privacy.num_multipliers, 0.7),
        streams=Streams(keys=dict.fromkeys(("shadow members", "shadow seeds"), seed_key(3))),
        folder=folder / "shadows",
    )


def test_every_candidate_is_in_half_of_the_shadows_and_of_each_client_half_are(tmp_path):
    made = shadows(tmp_path)
    inside = np.stack([made.members(shadow) for shadow in range(6)])
    assert (inside.sum(axis=0) == 3).all()
    for client in made.experiment.data.population_ids:
        of_client = made.challenge.holders == client
        assert (np.abs(2 * inside[:, of_client].sum(axis=1) - of_client.sum()) <= 1).all()
    assert len({tuple(row) for row in inside}) == 6


def test_a_shadow_trains_on_its_members_at_their_clients_with_coins_of_its_own(tmp_path):
    made = shadows(tmp_path)
    one, other = made._experiment(0), made._experiment(1)
    rows = np.concatenate(made.challenge.groups)
    for client in range(one.data.num_clients):
        mine = made.members(0) & (made.challenge.holders == client)
        assert set(one.data.clients[client]) == set(rows[mine])
    keys = {name: e.streams(None).keys for name, e in (("run", made.experiment), ("0", one), ("1", other))}
    assert all(len({key[purpose] for key in keys.values()}) == 3 for purpose in keys["run"])


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["none", pytest.param("example", marks=pytest.mark.slow)])
def test_what_is_missing_is_trained_and_comes_out_the_same(tmp_path, privacy):
    made = shadows(tmp_path, f"privacy={privacy}")
    made.train(4, workers=1, tell=silent)
    files = sorted((tmp_path / "shadows").iterdir())
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    assert len({content for content, _ in before.values()}) == 4
    files[2].unlink()  # as a kill leaves it
    made.train(4, workers=1, tell=silent)
    after = {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in sorted((tmp_path / "shadows").iterdir())
    }
    assert {name: content for name, (content, _) in after.items()} == {n: c for n, (c, _) in before.items()}
    assert [name for name in after if after[name][1] != before[name][1]] == [files[2].name]


@pytest.mark.slow
def test_several_processes_train_the_same(tmp_path):
    one, two = shadows(tmp_path / "one", "privacy=none"), shadows(tmp_path / "two", "privacy=none")
    one.train(2, workers=1, tell=silent)
    two.train(2, workers=2, tell=silent)
    for name in ("0000.safetensors", "0001.safetensors"):
        first, second = (load_file(tmp_path / side / "shadows" / name) for side in ("one", "two"))
        assert all((first[key] == second[key]).all() for key in first)


@pytest.mark.slow
def test_a_model_that_never_saw_the_data_is_at_chance(run_digits, tmp_path):
    """The final model is replaced by an untrained one; the shadows are real."""
    ran = run_digits(*SMALL[1:], "privacy=none", "model=mlp", "training.local_epochs=5", output_dir=tmp_path)
    experiment = Experiment.assemble(compose([*SMALL, "model=mlp"], config_dir=None))
    save_model(RunFolder(ran.folder).model, experiment.new_model().state_dict())
    specs = {
        "lira_online": LIRA,
        "loss_threshold": {"_target_": "fedpriv.attacks.membership.LossThreshold"},
        "rmia": {"_target_": "fedpriv.attacks.membership.Rmia", "shadows": 4, "gamma": 2.0, "offline_a": None},
    }
    found = attack_run(ran.folder, specs, workers=1, tell=silent).extra["attacks"]
    for name in specs:
        low, high = found[name]["auc_interval"]
        assert low - 0.01 <= 0.5 <= high + 0.01, name


@pytest.mark.slow
def test_losses_of_shadows_tell_who_was_in_them(tmp_path):
    """The ground that all attacks with shadows stand on."""
    made = shadows(tmp_path, "privacy=none", "model=mlp", "training.local_epochs=20", "partition.num_clients=2")
    made.train(2, workers=1, tell=silent)
    candidates = Candidates(made.experiment, made.challenge.data, made.challenge.groups)
    losses = made.losses(candidates, 2)
    found = score(losses[1] - losses[0], made.members(0), confidence=0.95)
    assert found.auc_low > 0.6
