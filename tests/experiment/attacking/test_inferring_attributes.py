"""Attribute inference on real runs: what a message of one record gives away, and what noise hides."""

import numpy as np
import pytest

from fedpriv.attacks.inference import AttributeInference
from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.experiment import run
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.attacking.attributes import Attribute
from fedpriv.tracking import Callback

ATTACK = ("attack=attribute_inference", "attack.attribute_inference.group={sex: f}")


class Silent(Callback):
    """Tells nobody anything."""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A table where the sensitive column is no feature, but height speaks of it."""
    rng, rows = np.random.default_rng(3), ["age,height,sex,sick"]
    for n in range(900):
        sex = "fm"[n % 3 > 0]
        age, height = rng.integers(20, 80), rng.normal(160 if sex == "f" else 185, 5)
        rows.append(f"{age},{height:.1f},{sex},{int(age + rng.normal(0, 20) > 50)}")
    file = tmp_path_factory.mktemp("people") / "people.csv"
    file.write_text("\n".join(rows))
    return (
        *("data=table", f"data.path={file}", "data.label=sick", "model=logistic", "task=binary", "data.groups=[sex]"),
        *("+data.numeric.age=[20,80]", "+data.numeric.height=[140,210]", "rounds=1", "partition=iid"),
        *("partition.num_clients=12", "training.lr=0.5", "evaluation.clients=false", *ATTACK),
        *(f"attack.attribute_inference.{key}" for key in ("records=200", "shadows=80", "components=4")),
    )


def found(given, tmp_path, *overrides):
    record = run(compose([*given, *overrides, f"output_dir={tmp_path}"], config_dir=None), reporter=Silent())
    return record.extra["attacks"]["attribute_inference"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["initial", "final"])
def test_without_privacy_a_records_group_is_found_though_it_is_no_feature(given, tmp_path, model):
    told = found(given, tmp_path, "privacy=none", f"attack.attribute_inference.model={model}")
    assert told["success"] > 0.9
    assert told["success_interval"][0] > told["control_interval"][1]
    assert told["control_interval"][0] <= 0.5 <= told["control_interval"][1]
    assert told["records_with"] + told["records_without"] == 200
    assert told["baseline"] == max(told["records_with"], told["records_without"]) / 200
    assert (told["attribute"], told["sees"], told["level"], told["model"]) == ("sex: f", "updates", "example", model)


@pytest.mark.parametrize("privacy", ["local_gaussian", "example"])
def test_noise_of_the_clients_own_hides_it(given, tmp_path, privacy):
    told = found(given, tmp_path, f"privacy={privacy}", "privacy.epsilon=1")
    assert told["control_interval"][0] <= told["success"] <= told["control_interval"][1]


def test_who_is_asked_about_and_what_the_adversary_has_are_apart(given):
    experiment = Experiment.assemble(compose([*given, "privacy=none", "split.held_out_clients=0.25"], config_dir=None))
    spec = {key: value for key, value in experiment.config.attack["attribute_inference"].items() if key != "_target_"}
    attribute = Attribute(experiment=experiment, needs=AttributeInference(**spec).needs)
    rng = np.random.default_rng(0)
    asked, (shadows, known) = attribute.asked(rng), attribute.shadows(rng)
    assert not {int(one.rows[0]) for one in asked} & {int(one.rows[0]) for one in shadows}
    assert len({int(one.rows[0]) for one in asked}) == len(asked) == 200
    assert known.sum() == len(shadows) / 2
    population = set(experiment.data.population_ids.tolist())
    assert {one.client for one in asked} | {one.client for one in shadows} <= population
    assert all(int(one.rows[0]) in experiment.data.clients[one.client] for one in asked)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("attack.attribute_inference.group=null",), "needs one attribute"),
        (("data.groups=[]",), "no group column sex"),
        (("attack.attribute_inference.group={sex: x}",), "sex is one of f, m"),
        (("attack.attribute_inference.sees=sums",), "sees=sums.*own update"),
        (("attack.attribute_inference.records=1",), "records=1 must be at least 20"),
        (("attack.attribute_inference.model=last",), "initial, final"),
        (("privacy=distributed", "privacy.epsilon=8"), "masked shares.*Leave the attack out"),
        (("privacy=none", "strategy=scaffold"), "keep nothing between rounds"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_it_trains(given, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        found(given, tmp_path, *(() if "privacy=none" in overrides else ("privacy.epsilon=8",)), *overrides)
    assert list(tmp_path.iterdir()) == []
