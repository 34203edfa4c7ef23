import copy
import math
import re
from functools import cache

import pytest

from fedpriv.config import Config, check, compose, conf_dir, dump, load, run_id
from fedpriv.errors import ConfigError, DamagedRunError

GROUPS = sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())
CHOICES = {group: sorted(file.stem for file in (conf_dir() / group).glob("*.yaml")) for group in GROUPS}
CONTRACT_KEYS = [
    "seed",
    "rounds",
    "workers",
    "clients_per_node",
    "device",
    "name",
    "output_dir",
    "force",
    "privacy.epsilon",
    "privacy.delta",
    "privacy.noise_multiplier",
    "privacy.clipping_norm",
    "privacy.max_grad_norm",
    "privacy.calibration",
    "privacy.accountant",
    "privacy.relation",
    "privacy.accept_weak_delta",
    "sampling.cohort",
    "partition.num_clients",
    "partition.alpha",
    "partition.min_examples",
    "training.batch_size",
    "training.local_epochs",
    "training.lr",
    "training.engine",
    "seeds.data",
    "seeds.sampling",
    "seeds.model",
    "seeds.noise",
    "federation.dropout",
]


def composed(*overrides, config_dir=None):
    return compose(overrides, config_dir=config_dir)


def refusal(*overrides, config_dir=None):
    with pytest.raises(ConfigError) as caught:
        composed(*overrides, config_dir=config_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


def value(config, key):
    for part in key.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return config


@pytest.fixture
def mine(tmp_path):
    """A folder of the user's own: writes files into it."""

    def write(name, text):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text)
        return tmp_path

    return write


@cache
def _default():
    return composed()


@pytest.fixture
def default():
    """A copy of the default config."""
    return copy.deepcopy(_default())


# -- what composes -----------------------------------------------------------------------------------------


def test_the_groups_and_choices_of_the_contract_are_there():
    assert set(CHOICES["privacy"]) >= {"none", "example", "central"}
    assert set(CHOICES["sampling"]) >= {"auto", "poisson", "fixed_size", "all"}
    assert set(CHOICES["data"]) >= {"mnist5k", "digits", "breast_cancer", "idx", "arrays"}
    assert set(CHOICES["partition"]) >= {"iid", "dirichlet", "shards", "natural"}
    assert set(CHOICES["strategy"]) >= {"fedavg", "fedavgm", "fedadam"}
    assert set(CHOICES["training"]) >= {"sgd", "fedprox"}
    assert set(CHOICES["model"]) >= {"logistic", "mlp", "lenet", "cnn"}
    assert set(CHOICES["runtime"]) >= {"inprocess"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOICES["experiment"])
def test_every_preset_composes_under_its_own_name(name):
    root = ["data.root=somewhere"] if name == "mnist_writers_client_dp" else []
    config = composed(f"experiment={name}", *root)
    assert config.name == name


@pytest.mark.slow
@pytest.mark.parametrize(("group", "choice"), [(g, c) for g in GROUPS if g != "experiment" for c in CHOICES[g]])
def test_every_choice_composes_with_the_default_experiment(group, choice):
    assert composed(f"{group}={choice}").rounds >= 1


def test_the_default_is_example_level_at_epsilon_8():
    config = composed()
    assert (config.name, config.privacy.mechanism, config.privacy.epsilon) == ("mnist5k_example_dp", "example", 8.0)
    assert config.data["_target_"].endswith("mnist5k")
    assert config.partition["num_clients"] >= 10
    assert config.partition["alpha"] <= 0.5
    assert config.output_dir == "outputs"


def test_every_key_of_the_contract_can_be_set_from_the_command_line():
    given = dict.fromkeys(CONTRACT_KEYS, "3") | {
        "device": "cuda",
        "name": "mine",
        "output_dir": "there",
        "force": "true",
        "privacy.calibration": "shared",
        "privacy.accountant": "rdp",
        "privacy.relation": "zero_out",
        "privacy.accept_weak_delta": "true",
        "training.engine": "opacus",
        "privacy.delta": "0.001",
        "federation.dropout": "0.25",
    }
    central = {"privacy.clipping_norm": given.pop("privacy.clipping_norm")}
    for overrides in ([f"{k}={v}" for k, v in given.items()], ["privacy=central", "privacy.clipping_norm=3"]):
        config = composed(*overrides)
        keys = given if "privacy=central" not in overrides else central
        assert {key: str(value(config, key)).lower().removesuffix(".0") for key in keys} == keys


def test_keys_of_the_file_data_sets_can_be_set():
    config = composed("data=idx", "data.path=a", "data.root=b", "data.label=c", "data.user=d")
    assert [config.data[key] for key in ("path", "root", "label", "user")] == ["a", "b", "c", "d"]


def test_a_preset_may_carry_keys_that_another_mechanism_has_no_use_for():
    config = composed("privacy=none")
    assert config.privacy.epsilon is None
    config = composed("privacy=central", "privacy.epsilon=8", "sampling.cohort=5")
    assert (config.privacy.max_grad_norm, config.privacy.clipping_norm) == (None, 1.0)


@pytest.mark.slow
def test_epsilon_inf_and_secret_noise_are_values():
    assert composed("privacy.epsilon=inf").privacy.epsilon == math.inf
    assert composed("seeds.noise=secret").seeds.noise == "secret"
    assert composed("seeds.noise=0", "seed=0").seeds.noise == 0


def test_presets_and_choices_of_the_users_own(mine):
    mine("data/tiny", "_target_: mypackage.tiny\nsize: 3\n")
    folder = mine(
        "experiment/mine",
        "# @package _global_\ndefaults:\n  - override /data: tiny\n  - override /privacy: none\nname: mine\n"
        "rounds: 2\n",
    )
    config = composed("experiment=mine", "data.size=4", config_dir=folder)
    assert (config.name, config.rounds, config.privacy.mechanism) == ("mine", 2, "none")
    assert config.data == {"_target_": "mypackage.tiny", "size": 4}


def test_a_folder_of_the_users_own_may_have_any_name(tmp_path):
    folder = tmp_path / "my 'own', [odd] folder=1"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\nprivacy:\n  epsilon: 2\n")
    assert composed("experiment=mine", config_dir=folder).name == "mine"


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("privacy.epsilom=3", "no key or group privacy.epsilom. Did you mean privacy.epsilon?"),
        ("privcy=example", "no key or group privcy. Did you mean privacy?"),
        ("privcy.epsilon=3", "no key or group privcy.epsilon. Did you mean privacy.epsilon?"),
        ("experimnt=digits_smoke", "Did you mean experiment?"),
        ("training.bach_size=3", "Did you mean training.batch_size?"),
        ("+new.key=1", "no key or group new."),
        ("+foo=1", "no key or group foo."),
        ("++foo=1", "no key or group foo."),
        ("+privacy.foo=1", "no key or group privacy.foo."),
        ("++privacy.epsilom=1", "Did you mean privacy.epsilon?"),
        ("+training={bach_size:3}", "Did you mean training.batch_size?"),
        ("data.foo=1", "no key foo in this choice of data; its file in conf/data/"),
        ("partition.nm_clients=1", "no key nm_clients in this choice of partition"),
        ("model.hidden=[3]", "no key hidden in this choice of model"),
        ("training.optimizer.momentm=0.9", "a new one is given with a plus: +training.optimizer.momentm=VALUE"),
        ("data=nosuch", "data=nosuch is unknown; use one of arrays, breast_cancer, characters, digits, "),
        ("privacy=exmple", "privacy=exmple is unknown; use one of both_units, central, "),
        ("experiment=nosuch", "experiment=nosuch is unknown; use one of adult_table, cifar_client_dp, compas_table, "),
        ("runtime=moon", "runtime=moon is unknown; use one of inprocess, ray."),
        ("privacy={a:1}", "privacy is a group; write privacy=CHOICE."),
        ("data=3", "GROUP=CHOICE"),
        ("rounds=abc", "rounds=abc: a whole number is asked for, not 'abc'."),
        ("rounds=1.5", "rounds=1.5: a whole number is asked for"),
        ("rounds=", "a whole number is asked for, not ''."),
        ("rounds=[1]", "a whole number is asked for"),
        ("privacy.epsilon=abc", "privacy.epsilon=abc: a number is asked for, not 'abc'."),
        ("privacy.epsilon={a:1}", "a number is asked for"),
        ("force=maybe", "force=maybe: true or false is asked for, not 'maybe'."),
        ("output_dir=null", "output_dir=null: a value is needed, not null."),
        ("seeds.data=secret", "seeds.data=secret: a whole number is asked for"),
        ("~privacy.epsilon", "set it to null"),
        ("~nosuch", "'nosuch' does not exist"),
        ("~privacy", "privacy.mechanism must be given"),
        ("foo", "'foo' is not KEY=VALUE or GROUP=CHOICE."),
        ("", "'' is not KEY=VALUE or GROUP=CHOICE."),
        ("rounds=[1", "'rounds=[1' is not KEY=VALUE or GROUP=CHOICE. Quote"),
        ("my key=1", "is not KEY=VALUE"),
        ("=", "'=' names no key"),
        ("=3", "'=3' names no key"),
        ("rounds=1,2", "rounds=1,2: give one value; a list is written rounds=[A,B]."),
        ("rounds=range(1,3)", "give one value"),
        ("rounds=${nosuch}", "Interpolation key 'nosuch' not found"),
        ("hydra.run.dir=x", "Hydra's own keys have no effect here; output_dir=DIR"),
        ("hydra/launcher=x", "Hydra's own keys have no effect here"),
    ],
)
def test_an_override_that_means_nothing_is_refused_with_the_mend(override, told):
    message = refusal(override)
    assert told in message
    assert "+privacy" not in message.replace(override, "")  # Hydra's own mend would silence the mistake


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("rounds", 0, "rounds=0 must be at least 1."),
        ("rounds", -1, "rounds=-1 must be at least 1."),
        ("workers", 0, "workers=0 must be at least 1."),
        ("threads", 0, "threads=0 must be at least 1."),
        ("clients_per_node", 0, "clients_per_node=0 must be at least 1."),
        ("training.batch_size", 0, "training.batch_size=0 must be at least 1."),
        ("training.local_epochs", 0, "training.local_epochs=0 must be at least 1."),
        ("evaluation.every", 0, "evaluation.every=0 must be at least 1."),
        ("training.lr", 0.0, "training.lr=0.0 must be a positive number."),
        ("training.lr", -0.1, "training.lr=-0.1 must be a positive number."),
        ("training.lr", math.nan, "training.lr=nan must be a positive number."),
        ("training.lr", math.inf, "training.lr=inf must be a positive number."),
        ("training.proximal_mu", -1.0, "training.proximal_mu=-1.0 must be >= 0."),
        ("sampling.cohort", 0.0, "sampling.cohort=0.0 must be a positive number."),
        ("sampling.cohort", math.nan, "sampling.cohort=nan must be a positive number."),
        ("federation.dropout", 1.0, "federation.dropout=1.0 must be in [0, 1)."),
        ("federation.dropout", -0.1, "federation.dropout=-0.1 must be in [0, 1)."),
        ("federation.dropout", math.nan, "federation.dropout=nan must be in [0, 1)."),
        ("privacy.epsilon", 0.0, "privacy.epsilon=0.0 must be > 0"),
        ("privacy.epsilon", -1.0, "privacy.epsilon=-1.0 must be > 0"),
        ("privacy.epsilon", math.nan, "privacy.epsilon=nan must be > 0"),
        ("privacy.delta", 0.0, "privacy.delta=0.0 must be a positive number."),
        ("privacy.delta", -1.0, "privacy.delta=-1.0 must be a positive number."),
        ("privacy.delta", math.nan, "privacy.delta=nan must be a positive number."),
        ("privacy.delta", 1.0, "privacy.delta=1.0 must be below 1."),
        ("privacy.noise_multiplier", 0.0, "privacy.noise_multiplier=0.0 must be a positive number."),
        ("privacy.noise_multiplier", -1.0, "privacy.noise_multiplier=-1.0 must be a positive number."),
        ("privacy.max_grad_norm", 0.0, "privacy.max_grad_norm=0.0 must be a positive number."),
        ("privacy.max_grad_norm", None, "privacy=example needs privacy.max_grad_norm."),
        ("privacy.epsilon", None, "needs privacy.epsilon"),
        ("privacy.accountant", "gdp", "use one of auto, pld, rdp, prv, opacus_rdp."),
        ("privacy.relation", "foo", "use one of auto, add_or_remove_one, replace_one, zero_out."),
        ("privacy.calibration", "foo", "use one of per_client, shared."),
        ("privacy.mechanism", "foo", "use one of none, example, central, "),
        ("sampling.kind", "foo", "poisson, capped_poisson, fixed_size, all, round_robin, cyclic_poisson."),
        ("training.engine", "foo", "use one of auto, vectorized, sgd, opacus."),
        ("training.engine", "sgd", "use training.engine=opacus, vectorized or auto."),
        ("runtime.kind", "moon", "use one of inprocess, ray."),
        ("seed", -1, "seed=-1 must be >= 0."),
        ("seeds.data", -1, "seeds.data=-1 must be a whole number >= 0."),
        ("seeds.noise", "abc", "seeds.noise=abc must be a whole number >= 0 or secret."),
        ("seeds.noise", -1, "seeds.noise=-1 must be a whole number >= 0 or secret."),
        ("seeds.noise", 1.5, "seeds.noise=1.5 must be a whole number >= 0 or secret."),
        ("seeds.noise", True, "seeds.noise=True must be a whole number >= 0 or secret."),
        ("name", "a/b", "must be the name of a folder"),
        ("name", "..", "must be the name of a folder"),
        ("name", "", "must be the name of a folder"),
        ("output_dir", "", "output_dir is empty"),
    ],
)
def test_a_value_that_cannot_be_run_is_refused_with_the_key(default, key, value, told):
    section, _, name = key.rpartition(".")
    setattr(getattr(default, section) if section else default, name, value)
    with pytest.raises(ConfigError) as caught:
        check(default, chosen=[])
    assert told in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["privacy=none", "privacy.epsilon=3"], "privacy.epsilon has no meaning with privacy=none"),
        (["privacy=none", "privacy.delta=0.1"], "privacy.delta has no meaning with privacy=none"),
        (["privacy.clipping_norm=1"], "privacy.clipping_norm has no meaning with privacy=example"),
        (["privacy=central", "privacy.max_grad_norm=1"], "privacy.max_grad_norm has no meaning with privacy=central"),
        (["privacy.epsilon=inf", "privacy.noise_multiplier=1"], "privacy.epsilon=inf means no noise"),
        (["privacy=none", "training.engine=opacus"], "use training.engine=sgd, vectorized or auto."),
    ],
)
def test_keys_that_contradict_each_other_are_refused(overrides, told):
    assert told in refusal(*overrides)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "# @package _global_\nprivacy:\n  epsilom: 3\n",
            "experiment/bad.yaml: There is no key or group privacy.epsilom.",
        ),
        ("# @package _global_\nfoo: 1\n", "experiment/bad.yaml: There is no key or group foo."),
        (
            "# @package _global_\ndefaults:\n  - override /dta: digits\n",
            "experiment/bad.yaml: There is no key or group dta.",
        ),
        ("# @package _global_\ndefaults:\n  - override /data: digts\n", "data=digts is unknown; use one of"),
        (
            "# @package _global_\nrounds: many\n",
            "experiment/bad.yaml: rounds: a whole number is asked for, not 'many'.",
        ),
        ("rounds: 2\n", "experiment/bad.yaml: a preset must begin with the line '# @package _global_'."),
        ("# @package _global_\nrounds: [2\nname: :\n", "bad.yaml"),
    ],
)
def test_a_mistake_in_a_preset_is_found_in_its_file(mine, text, told):
    assert told in refusal("experiment=bad", config_dir=mine("experiment/bad", text))


def test_a_config_dir_must_exist(tmp_path):
    assert refusal(config_dir=tmp_path / "nosuch") == f"--config-dir: there is no folder {tmp_path / 'nosuch'}."
    (tmp_path / "file").write_text("")
    assert "there is no folder" in refusal(config_dir=tmp_path / "file")


# -- what is written and read again ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [[], ["privacy=none"], ["experiment=mnist5k_client_dp", "seeds.noise=secret"], ["privacy.epsilon=inf", "seed=7"]],
)
def test_a_written_config_reads_back_as_itself(tmp_path, overrides):
    config = composed(*overrides)
    (tmp_path / "config.yaml").write_text(dump(config))
    assert load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("text", ["", "a: [", "- 1\n", "rounds: many\n", "foo: 1\n", "privacy:\n  epsilom: 1\n"])
def test_a_config_that_no_run_wrote_is_damage(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DamagedRunError, match="is not the config of a run"):
        load(tmp_path / "config.yaml")


def identity(config):
    return run_id(config, code={}, data_fingerprint="d", tuning={"chunk_size": 1}, version="0")


def changed(config, key, new):
    config = copy.deepcopy(config)
    section, _, name = key.rpartition(".")
    owner = getattr(config, section) if section else config
    if isinstance(owner, dict):
        owner[name] = new
    else:
        setattr(owner, name, new)
    return config


def test_the_run_id_changes_with_what_changes_the_result(default):
    same = {"workers": 3, "output_dir": "there", "name": "other", "force": True, "clients_per_node": 2}
    other = {"seed": 1, "rounds": 3, "threads": 2, "fix_model": True, "training.lr": 0.3, "privacy.epsilon": 3.0}
    other |= {"seeds.noise": 0, "seeds.data": 0, "federation.dropout": 0.1, "partition.alpha": 1, "model": {}}
    other |= {"sampling.cohort": 3.0, "privacy.accountant": "rdp", "strategy.optimizer": {}, "evaluation.every": 2}
    base = identity(default)
    assert {identity(changed(default, *change)) for change in same.items()} == {base}
    assert len({identity(changed(default, *change)) for change in other.items()} | {base}) == len(other) + 1
    assert identity(changed(default, "seeds.noise", "secret")) != base
    assert re.fullmatch("[0-9a-f]{12}", base)


def test_the_run_id_changes_with_data_code_tuning_and_version(default):
    arguments = {"data_fingerprint": "d", "tuning": {"chunk_size": 1}, "version": "0", "code": {}}
    changes = ({"data_fingerprint": "e"}, {"tuning": {}}, {"version": "1"}, {"code": {"net": "0"}})
    others = [arguments | change for change in changes]
    assert len({run_id(default, **a) for a in (arguments, *others)}) == 5


def test_every_default_passes_its_own_check():
    config = Config()
    config.privacy.mechanism, config.sampling.kind, config.runtime.kind = "none", "auto", "inprocess"
    assert check(copy.deepcopy(config), chosen=[]) == config


def test_a_tilde_is_the_home_folder(default, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    default.output_dir = "~/runs"
    assert check(default, chosen=[]).output_dir == "/home/somebody/runs"
