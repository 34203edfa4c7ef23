"""From files and overrides to a checked config, and back. Nothing below this layer sees a config object."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedpriv.config_checks import check
from fedpriv.config_schema import MODEL_KEYS, Config, PrivacyConfig
from fedpriv.config_words import readable, unknown, unknown_keys
from fedpriv.errors import ConfigError, DamagedRunError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

__all__ = [
    "MODEL_KEYS",
    "Config",
    "PrivacyConfig",
    "check",
    "compose",
    "conf_dir",
    "dump",
    "load",
    "parse",
    "preset",
    "run_id",
    "tampering",
]

SCHEMA_NAME = "fedpriv_schema"
# What may differ between two runs that give the same result.
_NOT_HASHED = ("name", "workers", "clients_per_node", "output_dir", "force", "runtime", "tracking", "attack")
_HASHED_IF_GIVEN = ("group_norms", "client_budgets")  # of privacy: runs that do without keep their ids


def conf_dir() -> Path:
    """The presets: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def compose(overrides: Sequence[str], *, config_dir: Path | None) -> Config:
    """The checked config of one experiment.

    Args:
        overrides: Hydra overrides such as ``privacy.epsilon=3`` or ``data=digits``.
        config_dir: a folder of the user's own groups and presets, searched beside fedpriv's.

    Raises:
        ConfigError: unknown group or key, wrong type, value or combination.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore

    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"--config-dir: there is no folder {config_dir}.")
    chosen = [_key_of(override) for override in overrides]
    search = _search(config_dir)
    ConfigStore.instance().store(name=SCHEMA_NAME, node=Config)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra_compose("config", overrides=[*overrides, *search])
            for group in _groups_chosen_anew(overrides, search):
                own = [text for key, text in zip(chosen, overrides, strict=True) if key.split(".")[0] == group]
                _forget_preset(composed[group], hydra_compose("config", overrides=[*own, *search])[group], group)
        config = _to_dataclass(composed)
    except ConfigError:
        raise
    except Exception as error:  # Hydra lets YAML's own errors through, and ValueError
        raise ConfigError(readable(error, Config)) from error
    return check(config, chosen=chosen)


def _search(config_dir: Path | None) -> list[str]:
    """The override by which Hydra searches the user's own folder, too."""
    return [] if config_dir is None else [f"hydra.searchpath=[{json.dumps(f'file://{config_dir.resolve()}')}]"]


def _groups_chosen_anew(overrides: Sequence[str], search: Sequence[str]) -> list[str]:
    """Groups where the command line has another choice than the preset that it names."""
    from hydra import compose as hydra_compose

    presets = [text for text in overrides if _key_of(text) == "experiment"]
    given = {_key_of(text): text.partition("=")[2] for text in overrides}
    groups = [group for group in ("data", "partition", "model") if group in given]
    if not presets or not groups:
        return []
    composed = hydra_compose("config", overrides=[*presets, *search], return_hydra_config=True)
    return [group for group in groups if composed.hydra.runtime.choices[group] != given[group]]


def _forget_preset(node: Any, alone: Any, group: str) -> None:
    """Take out of ``node`` what a preset said of its own choice.

    A partition keeps what the two choices share (the number of clients); other data or another model shares nothing.

    Args:
        alone: the group as the command line gives it, without the preset.
    """
    from omegaconf import open_dict

    with open_dict(node):
        for key in [key for key in node if key not in alone]:
            del node[key]
        if group != "partition":
            node.update(alone)


def load(path: Path) -> Config:
    """The config that ``dump`` wrote.

    Raises:
        DamagedRunError: the file is not such a config.
    """
    from omegaconf import OmegaConf

    try:
        return check(_to_dataclass(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(path))), chosen=[])
    except Exception as error:
        raise DamagedRunError(f"{path} is not the config of a run ({readable(error, Config)}).") from error


def dump(config: Config) -> str:
    """The resolved config as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def preset(overrides: Sequence[str], *, config_dir: Path | None) -> str:
    """What ``compose`` makes of these overrides as the text of an experiment of one's own.

    It names the same choices, and says every key whose value is not the choice's.

    Raises:
        ConfigError: as ``compose``; or a key was taken out, which no file can say.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    wanted = asdict(compose(overrides, config_dir=config_dir))
    search = _search(config_dir)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = hydra_compose("config", overrides=[*overrides, *search], return_hydra_config=True)
        choices = composed.hydra.runtime.choices.items()
        groups = {group: name for group, name in choices if "/" not in group and group != "experiment"}
        alone = hydra_compose("config", overrides=["~experiment", *(f"{g}={c}" for g, c in groups.items()), *search])
    defaults = [{f"override /{group}": name} for group, name in groups.items()]
    known = OmegaConf.to_container(alone)
    said = _beside(known if isinstance(known, dict) else {}, wanted)
    return "# @package _global_\n" + OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults, **said}))


def _beside(known: dict[Any, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What of ``wanted`` is not known."""
    if gone := known.keys() - wanted.keys():
        raise ConfigError(f"The overrides take out {', '.join(sorted(gone))}, which a preset cannot say.")
    return {
        key: _beside(known[key], value) if isinstance(value, dict) and isinstance(known.get(key), dict) else value
        for key, value in wanted.items()
        if key not in known or known[key] != value
    }


def run_id(
    config: Config, *, code: dict[str, str], data_fingerprint: str, tuning: dict[str, Any], version: str
) -> str:
    """Hash of everything that changes the result: config, the user's own code, data, tuning, package version."""
    hashed = {key: value for key, value in asdict(config).items() if key not in _NOT_HASHED}
    told = hashed["privacy"].items()
    hashed["privacy"] = {key: value for key, value in told if value or key not in _HASHED_IF_GIVEN}
    if not hashed["audit"]:
        del hashed["audit"]
    if tampered := tampering(config):
        hashed["tampering"] = tampered
    text = json.dumps([hashed, code, data_fingerprint, tuning, version], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tampering(config: Config) -> dict[str, dict[str, Any]]:
    """Those of ``attack`` that change what clients send, and so the run: they say who the ``attackers`` are."""
    return {name: spec for name, spec in config.attack.items() if "attackers" in spec}


def parse(override: str) -> "Override":
    """What Hydra's grammar makes of an override; one of ``hydra`` and its groups, or a sweep, is not refused.

    Raises:
        ConfigError: it is none.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise ConfigError(
            f"'{override}' is not KEY=VALUE or GROUP=CHOICE. Quote a value that has special characters: "
            "\"key='a value'\"."
        ) from error
    if not parsed.key_or_group:
        raise ConfigError(f"'{override}' names no key: write KEY=VALUE or GROUP=CHOICE.")
    return parsed


def _key_of(override: str) -> str:
    """The key or group that an override names."""
    parsed = parse(override)
    key = parsed.key_or_group
    if parsed.is_sweep_override():
        raise ConfigError(f"{override}: give one value; a list is written {key}=[A,B]. `fedpriv sweep` tries several.")
    if key.split(".")[0].split("/")[0] == "hydra":
        raise ConfigError(f"{override}: Hydra's own keys have no effect here; output_dir=DIR says where runs go.")
    return key


def _to_dataclass(composed: Any) -> Config:
    from omegaconf import OmegaConf

    if stray := next(unknown_keys(composed, Config), None):
        raise ConfigError(unknown(stray, Config))
    if missing := sorted(OmegaConf.missing_keys(composed)):
        raise ConfigError(f"{missing[0]} must be given, e.g. {missing[0]}=VALUE.")
    config = OmegaConf.to_object(composed)
    if not isinstance(config, Config):
        raise ConfigError(f"conf/config.yaml must list {SCHEMA_NAME} first in its defaults.")
    return config
