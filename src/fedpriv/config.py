"""From files and overrides to a checked config, and back. Nothing below this layer sees a config object."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedpriv.config_checks import check
from fedpriv.config_schema import MODEL_KEYS, Config
from fedpriv.config_words import readable, unknown, unknown_keys
from fedpriv.errors import ConfigError, DamagedRunError

__all__ = ["MODEL_KEYS", "Config", "check", "compose", "conf_dir", "dump", "load", "run_id"]

SCHEMA_NAME = "fedpriv_schema"
# What may differ between two runs that give the same result.
_NOT_HASHED = ("name", "workers", "clients_per_node", "output_dir", "force", "runtime")


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
    search = [] if config_dir is None else [f"hydra.searchpath=[{json.dumps(f'file://{config_dir.resolve()}')}]"]
    ConfigStore.instance().store(name=SCHEMA_NAME, node=Config)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra_compose("config", overrides=[*overrides, *search])
        config = _to_dataclass(composed)
    except ConfigError:
        raise
    except Exception as error:  # Hydra lets YAML's own errors through, and ValueError
        raise ConfigError(readable(error, Config)) from error
    return check(config, chosen=chosen)


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


def run_id(
    config: Config, *, code: dict[str, str], data_fingerprint: str, tuning: dict[str, Any], version: str
) -> str:
    """Hash of everything that changes the result: config, the user's own code, data, tuning, package version."""
    hashed = {key: value for key, value in asdict(config).items() if key not in _NOT_HASHED}
    text = json.dumps([hashed, code, data_fingerprint, tuning, version], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _key_of(override: str) -> str:
    """The key or group that an override names."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise ConfigError(
            f"'{override}' is not KEY=VALUE or GROUP=CHOICE. Quote a value that has special characters: "
            "\"key='a value'\"."
        ) from error
    key = parsed.key_or_group
    if not key:
        raise ConfigError(f"'{override}' names no key: write KEY=VALUE or GROUP=CHOICE.")
    if parsed.is_sweep_override():
        raise ConfigError(f"{override}: give one value; a list is written {key}=[A,B].")
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
