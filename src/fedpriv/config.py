"""The schema of an experiment: types, defaults, cross-checks. Nothing below this layer sees a config object.

Keys that every run has get their default here; a choice's own keys get theirs in that choice's file in conf/.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fedpriv.config_words import readable, unknown, unknown_keys
from fedpriv.errors import ConfigError, DamagedRunError

SCHEMA_NAME = "fedpriv_schema"
_FROM_GROUP = "???"  # omegaconf's mark of a value that a file in conf/ must give


@dataclass
class SeedsConfig:
    """Seeds of single purposes; null derives each from ``seed``. ``noise=secret`` draws 128 bits that are deleted."""

    data: int | None = None
    sampling: int | None = None
    model: int | None = None
    noise: Any = None


@dataclass
class TrainingConfig:
    """What a client does with its own data in a round."""

    batch_size: int = 32
    local_epochs: int = 1
    lr: float = 0.1
    engine: str = "auto"
    proximal_mu: float = 0.0
    optimizer: dict[str, Any] = field(default_factory=dict)


@dataclass
class SamplingConfig:
    """Who is in a round's cohort; ``cohort`` is the expected size, null means everybody."""

    kind: str = _FROM_GROUP
    cohort: float | None = None


@dataclass
class PrivacyConfig:
    """Which mechanism protects whom, and how its releases are judged."""

    mechanism: str = _FROM_GROUP
    epsilon: float | None = None
    delta: float | None = None
    noise_multiplier: float | None = None
    clipping_norm: float | None = None
    max_grad_norm: float | None = None
    calibration: str = "per_client"
    accountant: str = "auto"
    relation: str = "auto"
    accept_weak_delta: bool = False


@dataclass
class StrategyConfig:
    """The server's optimizer over the pseudo-gradient."""

    optimizer: dict[str, Any] = field(default_factory=dict)


@dataclass
class FederationConfig:
    """What goes wrong in a federation, simulated: chance of a client, each round, to never answer."""

    dropout: float = 0.0


@dataclass
class EvaluationConfig:
    """Global test metrics every so many rounds; per-client metrics at the end."""

    every: int = 1
    clients: bool = True


@dataclass
class RuntimeConfig:
    """What carries the messages."""

    kind: str = _FROM_GROUP


@dataclass
class Config:
    """One experiment."""

    name: str = "run"
    seed: int = 0
    rounds: int = 10
    workers: int = 1
    threads: int = 1
    clients_per_node: int | None = None
    device: str = "cpu"
    output_dir: str = "outputs"
    force: bool = False
    fix_model: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    partition: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    federation: FederationConfig = field(default_factory=FederationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)


# What may differ between two runs that give the same result.
_NOT_HASHED = ("name", "workers", "clients_per_node", "output_dir", "force", "runtime")
# Beyond these, float32 noise is not what is claimed, accountants break down, or a machine does.
_RANGES: dict[str, tuple[float, float]] = {
    "privacy.noise_multiplier": (1e-3, 1e6),
    "privacy.max_grad_norm": (1e-6, 1e6),
    "privacy.clipping_norm": (1e-12, 1e12),
    "workers": (1, 1024),
    "threads": (1, 256),
}
_LARGEST_EPSILON = 1e4
# Keys of a mechanism; presets may carry them along when another mechanism is chosen, a person may not.
_MECHANISM_KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "example": ("max_grad_norm",),
    "central": ("clipping_norm",),
}
_SHARED_PRIVACY_KEYS = (
    "epsilon",
    "delta",
    "noise_multiplier",
    "calibration",
    "accountant",
    "relation",
    "accept_weak_delta",
)


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


def check(config: Config, *, chosen: Sequence[str]) -> Config:
    """Values and combinations that no data is needed to judge; clears keys of mechanisms not chosen.

    Args:
        chosen: keys that the user named; naming one that the mechanism has no use for is an error.
    """
    _check_choices(config)
    _check_numbers(config)
    _check_seeds(config.seeds)
    _check_privacy(config, chosen)
    config.output_dir = str(Path(config.output_dir).expanduser())
    return config


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


def _check_choices(config: Config) -> None:
    _one_of("privacy.mechanism", config.privacy.mechanism, tuple(_MECHANISM_KEYS))
    _one_of("privacy.calibration", config.privacy.calibration, ("per_client", "shared"))
    _one_of("privacy.accountant", config.privacy.accountant, ("auto", "pld", "rdp", "prv", "opacus_rdp"))
    _one_of("privacy.relation", config.privacy.relation, ("auto", "add_or_remove_one", "replace_one", "zero_out"))
    _one_of("sampling.kind", config.sampling.kind, ("auto", "poisson", "fixed_size", "all"))
    _one_of("training.engine", config.training.engine, ("auto", "sgd", "opacus"))
    _one_of("runtime.kind", config.runtime.kind, ("inprocess",))
    if config.training.engine != "auto":
        needed = "opacus" if config.privacy.mechanism == "example" else "sgd"
        if config.training.engine != needed:
            raise ConfigError(
                f"training.engine={config.training.engine} cannot do the local steps of "
                f"privacy={config.privacy.mechanism}; use training.engine={needed} or auto."
            )
    if not config.name or any(c in config.name for c in "/\\\0") or config.name in (".", ".."):
        raise ConfigError(f"name={config.name!r} must be the name of a folder, without slashes.")
    if not config.output_dir:
        raise ConfigError("output_dir is empty: give a folder, or output_dir=. for the current one.")


def _check_numbers(config: Config) -> None:
    whole: dict[str, int | None] = {
        "rounds": config.rounds,
        "workers": config.workers,
        "threads": config.threads,
        "clients_per_node": config.clients_per_node,
        "training.batch_size": config.training.batch_size,
        "training.local_epochs": config.training.local_epochs,
        "evaluation.every": config.evaluation.every,
    }
    for key, value in whole.items():
        if value is not None and value < 1:
            raise ConfigError(f"{key}={value} must be at least 1.")
    positive: dict[str, float | None] = {
        "training.lr": config.training.lr,
        "sampling.cohort": config.sampling.cohort,
        "privacy.noise_multiplier": config.privacy.noise_multiplier,
        "privacy.clipping_norm": config.privacy.clipping_norm,
        "privacy.max_grad_norm": config.privacy.max_grad_norm,
        "privacy.delta": config.privacy.delta,
    }
    for key, number in positive.items():
        if number is not None and not (number > 0 and math.isfinite(number)):
            raise ConfigError(f"{key}={number} must be a positive number.")
    for key, (least, most) in _RANGES.items():
        number = positive.get(key, whole.get(key))
        if number is not None and not least <= number <= most:
            raise ConfigError(f"{key}={number:g} must lie between {least:g} and {most:g}.")
    epsilon = config.privacy.epsilon
    if epsilon is not None and not epsilon > 0:
        raise ConfigError(
            f"privacy.epsilon={epsilon} must be > 0 (inf: clip and sample, but add no noise and claim nothing)."
        )
    if epsilon is not None and _LARGEST_EPSILON < epsilon < math.inf:
        raise ConfigError(
            f"privacy.epsilon={epsilon:g} protects nothing and cannot be calibrated; use at most "
            f"{_LARGEST_EPSILON:g}, or inf for no noise."
        )
    if config.privacy.delta is not None and config.privacy.delta >= 1:
        raise ConfigError(f"privacy.delta={config.privacy.delta} must be below 1.")
    if not 0 <= config.training.proximal_mu < math.inf:
        raise ConfigError(f"training.proximal_mu={config.training.proximal_mu} must be >= 0.")
    if not 0 <= config.federation.dropout < 1:
        raise ConfigError(f"federation.dropout={config.federation.dropout} must be in [0, 1).")
    if config.seed < 0:
        raise ConfigError(f"seed={config.seed} must be >= 0.")


def _check_seeds(seeds: SeedsConfig) -> None:
    for key in ("data", "sampling", "model", "noise"):
        value = getattr(seeds, key)
        if key == "noise" and value == "secret":
            continue
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            allowed = "a whole number >= 0 or secret" if key == "noise" else "a whole number >= 0"
            raise ConfigError(f"seeds.{key}={value} must be {allowed}.")


def _check_privacy(config: Config, chosen: Sequence[str]) -> None:
    privacy = config.privacy
    allowed = _MECHANISM_KEYS[privacy.mechanism]
    usable = () if privacy.mechanism == "none" else (*_SHARED_PRIVACY_KEYS, *allowed)
    for key in fields(PrivacyConfig):
        if key.name == "mechanism" or key.name in usable:
            continue
        if f"privacy.{key.name}" in chosen:
            raise ConfigError(
                f"privacy.{key.name} has no meaning with privacy={privacy.mechanism}; drop it, or choose another "
                "mechanism (privacy=example, privacy=central)."
            )
        setattr(privacy, key.name, None if key.default is NO_DEFAULT else key.default)
    if privacy.mechanism == "none":
        return
    if privacy.epsilon is None and privacy.noise_multiplier is None:
        raise ConfigError(
            f"privacy={privacy.mechanism} needs privacy.epsilon (the noise is calibrated to it) or "
            "privacy.noise_multiplier (epsilon is computed from it); with both, the run stops at epsilon."
        )
    if privacy.epsilon == math.inf and privacy.noise_multiplier is not None:
        raise ConfigError("privacy.epsilon=inf means no noise: drop privacy.noise_multiplier, or drop epsilon.")
    for key_name in allowed:
        if getattr(privacy, key_name) is None:
            raise ConfigError(f"privacy={privacy.mechanism} needs privacy.{key_name}.")


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value} is unknown; use one of {', '.join(known)}.")
