"""Property inference on real runs: simulated clients are like the run's own, and what is found is what leaks."""

from dataclasses import replace

import numpy as np
import pytest

from fedpriv.attacks.inference import PropertyNeeds
from fedpriv.config import compose, load
from fedpriv.errors import ConfigError
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.properties import Property, check_property
from fedpriv.experiment.attacking.simulated import Simulated, SimulatedClients
from fedpriv.experiment.attacking.watching import SeenRounds
from fedpriv.streams import Streams, seed_key

SKEWED = ("partition=dirichlet", "partition.num_clients=60", "partition.alpha=0.1", "partition.min_examples=8")
ATTACKED = ("attack=property_inference", "attack.property_inference.label=3", "attack.property_inference.shadows=100")
STREAMS = Streams(keys=dict.fromkeys(("properties", "simulated clients"), seed_key(5)))


def found(ran) -> dict:
    return ran.record.extra["attacks"]["property_inference"]


def test_without_privacy_a_label_is_found_and_shuffled_properties_teach_nothing(run_digits, tmp_path):
    told = found(run_digits("privacy=none", "rounds=1", *SKEWED, *ATTACKED, output_dir=tmp_path))
    assert told["success"] > 0.9
    assert told["success_interval"][0] > 0.5
    assert told["control_interval"][0] <= 0.5 <= told["control_interval"][1]
    assert told["baseline"] == max(told["clients_with"], told["clients_without"]) / 60
    assert (told["sees"], told["level"], told["clients_not_seen"]) == ("updates", "client", 0)
    assert told["property"] == "label 3, a share of at least 0.2"


def test_local_noise_hides_it(run_digits, tmp_path):
    own = ("privacy=local_gaussian", "privacy.epsilon=1", "rounds=1")
    told = found(run_digits(*own, *SKEWED, *ATTACKED, output_dir=tmp_path))
    assert told["success_interval"][0] <= 0.5 <= told["success_interval"][1]


def replayed(ran) -> tuple[np.ndarray, np.ndarray]:
    """What clients sent in the first round, and what the same clients send when they are simulated with their data."""
    experiment = Experiment.assemble(load(ran.folder / "config.yaml"))
    seen = SeenRounds(ran.folder, attack="property_inference", sees="updates", last_round=1)[0]
    same = [Simulated(client=client, rows=experiment.data.clients[client]) for client in seen.updates]
    clients = SimulatedClients(
        experiment=experiment, noise_multipliers=experiment.privacy.noise_multipliers(), streams=STREAMS
    )
    sent = clients.updates(same, parameters=seen.parameters, round_number=1)
    return np.stack([update.numpy() for update in seen.updates.values()]), sent.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("privacy", ["none", "central"])
def test_a_simulated_client_with_a_real_ones_data_sends_what_it_sent(run_digits, tmp_path, privacy):
    """With all its data in one batch no coin is left but rounding to a grid; notes are float32."""
    own = (f"privacy={privacy}", *(["privacy.epsilon=8"] * (privacy == "central")), "training.batch_size=1000")
    ran = run_digits(*own, "rounds=1", *SKEWED, *ATTACKED, "attack.property_inference.shadows=40", output_dir=tmp_path)
    real, sent = replayed(ran)
    np.testing.assert_allclose(sent, real, rtol=1e-6, atol=1e-6 if privacy == "none" else 1.0)
    assert np.abs(real).max() > (1e-3 if privacy == "none" else 100)


@pytest.mark.slow
def test_the_noise_of_simulated_clients_is_as_large_and_another(run_digits, tmp_path):
    own = ("privacy=local_gaussian", "privacy.epsilon=8", "training.batch_size=1000", "rounds=1")
    ran = run_digits(*own, *SKEWED, *ATTACKED, "attack.property_inference.shadows=40", output_dir=tmp_path)
    real, sent = replayed(ran)
    noise = float(np.std(real))  # its part of an update is nearly all of it
    np.testing.assert_allclose(np.std(sent), noise, rtol=0.02)
    np.testing.assert_allclose(np.std(sent - real), noise * np.sqrt(2), rtol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.05, 0.5, 1.0])
def test_every_other_shadow_has_the_property_and_is_as_large_as_whom_it_plays(threshold):
    experiment = Experiment.assemble(compose(["experiment=digits_smoke", *SKEWED], config_dir=None))
    needs = PropertyNeeds(label=3, group=None, threshold=threshold, shadows=150, rounds=1)
    asked = Property(experiment=experiment, needs=needs)
    shadows, having = asked.shadows(STREAMS.rng("properties"))
    assert (len(shadows), having.sum()) == (150, 75)
    for shadow, has in zip(shadows, having, strict=True):
        assert (asked.is_of_kind[shadow.rows].mean() >= threshold) == has
        assert len(shadow.rows) == experiment.data.client_sizes[shadow.client]
        assert np.isin(shadow.rows, asked.pool).all()
    trained = np.concatenate([experiment.data.clients[c] for c in experiment.data.population_ids.tolist()])
    assert not np.isin(asked.pool, trained).any()


def test_a_group_is_counted_where_the_data_name_it_and_another_name_is_refused():
    plain = Experiment.assemble(compose(["experiment=digits_smoke", *SKEWED], config_dir=None))
    odd = np.concatenate([plain.data.train.y, plain.data.test.y]) % 2
    data = replace(plain.data, groups={"parity": odd}, group_names={"parity": ("even", "odd")})
    experiment = Experiment(config=plain.config, data=data)
    needs = PropertyNeeds(label=None, group={"parity": "odd"}, threshold=0.5, shadows=40, rounds=1)
    asked = Property(experiment=experiment, needs=needs)
    shares = [(plain.data.train.y[plain.data.clients[client]] % 2).mean() for client in asked.clients.tolist()]
    np.testing.assert_array_equal(asked.having, np.array(shares) >= 0.5)
    check_property("mine", needs, experiment)
    with pytest.raises(ConfigError, match=r"parity is one of even, odd"):
        check_property("mine", replace(needs, group={"parity": "none"}), experiment)


def test_updates_are_the_same_however_many_are_asked_for_at_once():
    """Two clients that play the same one are trained one after the other, with coins of their own."""
    experiment = Experiment.assemble(
        compose(["experiment=digits_smoke", "privacy=local_gaussian", "privacy.epsilon=8", *SKEWED], config_dir=None)
    )
    noise = experiment.privacy.noise_multipliers()
    clients = SimulatedClients(experiment=experiment, noise_multipliers=noise, streams=STREAMS)
    start = experiment.layout(model := experiment.new_model()).from_module(model)
    one, other = (Simulated(client=c, rows=np.arange(12)) for c in (1, 2))
    sent = clients.updates([one, other, one], parameters=start, round_number=1)
    alone = clients.updates([one], parameters=start, round_number=1)
    assert (sent[0] == alone[0]).all()
    assert not (sent[0] == sent[2]).any()
    assert not (sent[0] == sent[1]).any()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "needs one property"),
        (("attack.property_inference.sees=sums", "attack.property_inference.label=3"), "sees=sums.*its own update"),
        (("attack.property_inference.label=10",), "label=10 is none of the data's labels"),
        (("attack.property_inference.group={sex: Female}",), "no group column sex.*data.groups"),
        (("attack.property_inference.label=3", "attack.property_inference.threshold=1.0"), "0 of 10 clients have"),
        (
            ("attack.property_inference.label=3", "privacy=distributed", "privacy.epsilon=8"),
            "sees updates.*masked shares",
        ),
        (("attack.property_inference.label=3", "privacy=none", "strategy=scaffold"), "keep nothing between rounds"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_it_trains(run_digits, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_digits("attack=property_inference", *overrides, output_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
