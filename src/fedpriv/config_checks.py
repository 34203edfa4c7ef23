"""Cross-checks of a config: values and combinations that no data is needed to judge."""

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from fedpriv.accounting.claims import protects
from fedpriv.accounting.sampling import CohortKind
from fedpriv.config_schema import MODEL_KEYS, Config, PrivacyConfig, SeedsConfig
from fedpriv.errors import ConfigError

# Beyond these, float32 noise is not what is claimed, accountants break down, or a machine does.
_RANGES: dict[str, tuple[float, float]] = {
    "privacy.noise_multiplier": (1e-3, 1e6),
    "privacy.example_noise_multiplier": (1e-3, 1e6),
    "privacy.max_grad_norm": (1e-6, 1e6),
    "privacy.bits": (4, 32),
    "privacy.clipping_norm": (1e-12, 1e12),
    "workers": (1, 1024),
    "threads": (1, 256),
}
_LARGEST_EPSILON = 1e4
_MOST_CANARIES = 100_000
_TRACKER_SECONDS = 60.0
# Keys of a mechanism; presets may carry them along when another mechanism is chosen, a person may not.
_MECHANISM_KEYS: dict[str, tuple[str, ...]] = {
    "none": (),
    "example": ("max_grad_norm", "layer_norms", "group_norms", "client_budgets"),
    "central": ("clipping_norm", "client_budgets"),
    "central_adaptive": ("clipping_norm", "target_quantile", "clipping_lr", "count_noise", "client_budgets"),
    "central_per_layer": ("clipping_norm", "layer_norms", "client_budgets"),
    "both_units": ("clipping_norm", "max_grad_norm", "example_epsilon", "example_delta", "example_noise_multiplier"),
    "distributed": ("clipping_norm", "bits", "granularity", "tolerated_dropout"),
    "ftrl_tree": ("clipping_norm", "restart_every"),
    "ftrl_banded": ("clipping_norm", "bands"),
    "local_gaussian": ("clipping_norm", "client_budgets"),
    "local_laplace": ("clipping_norm", "client_budgets"),
}
# What is left out follows.
_OPTIONAL = (
    "group_norms",
    "count_noise",
    "layer_norms",
    "client_budgets",
    "restart_every",
    "bands",
    "granularity",
    "example_epsilon",
    "example_delta",
    "example_noise_multiplier",
)
_ALGORITHMS = ("fedavg", "scaffold", "fednova", "personal_layers", "flower")
_SHARED_PRIVACY_KEYS = (
    "epsilon",
    "delta",
    "noise_multiplier",
    "calibration",
    "accountant",
    "relation",
    "accept_weak_delta",
)


def check(config: Config, *, chosen: Sequence[str]) -> Config:
    """Values and combinations that no data is needed to judge; clears keys of mechanisms not chosen.

    Args:
        chosen: keys that the user named; naming one that the mechanism has no use for is an error.
    """
    _check_choices(config)
    _check_numbers(config)
    _check_seeds(config.seeds)
    _check_privacy(config, chosen)
    _check_strategy(config)
    _check_model(config.model)
    _check_tracking(config.tracking)
    _check_attack(config.attack)
    _check_audit(config.audit)
    config.output_dir = str(Path(config.output_dir).expanduser())
    return config


def _check_choices(config: Config) -> None:
    _one_of("privacy.mechanism", config.privacy.mechanism, tuple(_MECHANISM_KEYS))
    _one_of("privacy.calibration", config.privacy.calibration, ("per_client", "shared"))
    _one_of("privacy.accountant", config.privacy.accountant, ("auto", "pld", "rdp", "prv", "opacus_rdp"))
    _one_of("privacy.relation", config.privacy.relation, ("auto", "add_or_remove_one", "replace_one", "zero_out"))
    _one_of("sampling.kind", config.sampling.kind, ("auto", *get_args(CohortKind)))
    _one_of("training.engine", config.training.engine, ("auto", "vectorized", "sgd", "opacus"))
    if config.tuning.convolutions is not None:
        _one_of("tuning.convolutions", config.tuning.convolutions, ("patches", "native"))
    if config.tuning.memory_format is not None:
        _one_of("tuning.memory_format", config.tuning.memory_format, ("channels_last", "contiguous"))
    _check_runtime(config)
    _one_of("task", config.task, ("auto", "classification", "binary", "regression", "next_token", "survival"))
    _one_of("strategy.algorithm", config.strategy.algorithm, _ALGORITHMS)
    _one_of("strategy.weighting", config.strategy.weighting, ("examples", "uniform"))
    needed = "opacus" if protects(config.privacy.mechanism, "example") else "sgd"
    if config.training.engine not in ("auto", "vectorized", needed):
        raise ConfigError(
            f"training.engine={config.training.engine} cannot do the local steps of "
            f"privacy={config.privacy.mechanism}; use training.engine={needed}, vectorized or auto."
        )
    if not config.name or any(c in config.name for c in "/\\\0") or config.name in (".", ".."):
        raise ConfigError(f"name={config.name!r} must be the name of a folder, without slashes.")
    if not config.output_dir:
        raise ConfigError("output_dir is empty: give a folder, or output_dir=. for the current one.")


def _check_runtime(config: Config) -> None:
    _one_of("runtime.kind", config.runtime.kind, ("inprocess", "ray"))
    if config.runtime.kind != "ray":
        if config.runtime.data is not None:
            raise ConfigError("runtime.data is for runtime=ray; leave it out.")
        return
    _one_of("runtime.data", config.runtime.data or "", ("object_store", "path"))
    if config.device != "cpu":
        raise ConfigError(f"runtime=ray trains on CPUs, not on device={config.device}; use runtime=inprocess.")


def _check_numbers(config: Config) -> None:
    whole: dict[str, int | None] = {
        "rounds": config.rounds,
        "workers": config.workers,
        "threads": config.threads,
        "clients_per_node": config.clients_per_node,
        "training.batch_size": config.training.batch_size,
        "training.local_epochs": config.training.local_epochs,
        "evaluation.every": config.evaluation.every,
        "sampling.separation": config.sampling.separation,
        "sampling.cap": config.sampling.cap,
        "privacy.restart_every": config.privacy.restart_every,
        "privacy.bits": config.privacy.bits,
        "privacy.bands": config.privacy.bands,
        "sampling.participation_cap": config.sampling.participation_cap,
        "tuning.stack_size": config.tuning.stack_size,
        "tuning.chunk_size": config.tuning.chunk_size,
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
        "privacy.clipping_lr": config.privacy.clipping_lr,
        "privacy.count_noise": config.privacy.count_noise,
        "privacy.granularity": config.privacy.granularity,
        **{f"privacy.layer_norms.{name}": norm for name, norm in config.privacy.layer_norms.items()},
        "privacy.example_noise_multiplier": config.privacy.example_noise_multiplier,
        "privacy.delta": config.privacy.delta,
        "privacy.example_delta": config.privacy.example_delta,
    }
    for key, number in positive.items():
        if number is not None and not (number > 0 and math.isfinite(number)):
            raise ConfigError(f"{key}={number} must be a positive number.")
    for key, (least, most) in _RANGES.items():
        number = positive.get(key, whole.get(key))
        if number is not None and not least <= number <= most:
            raise ConfigError(f"{key}={number:g} must lie between {least:g} and {most:g}.")
    _check_group_norms(config.privacy)
    quantile = config.privacy.target_quantile
    if quantile is not None and not 0 < quantile < 1:
        raise ConfigError(f"privacy.target_quantile={quantile:g} must lie between 0 and 1.")
    _check_budget("epsilon", config.privacy.epsilon)
    _check_budget("example_epsilon", config.privacy.example_epsilon)
    for key in ("delta", "example_delta"):
        delta = getattr(config.privacy, key)
        if delta is not None and delta >= 1:
            raise ConfigError(f"privacy.{key}={delta} must be below 1.")
    if not 0 <= config.training.proximal_mu < math.inf:
        raise ConfigError(f"training.proximal_mu={config.training.proximal_mu} must be >= 0.")
    tolerated = config.privacy.tolerated_dropout
    if tolerated is not None and not 0 <= tolerated < 1:
        raise ConfigError(f"privacy.tolerated_dropout={tolerated} must be in [0, 1).")
    if not 0 <= config.federation.dropout < 1:
        raise ConfigError(f"federation.dropout={config.federation.dropout} must be in [0, 1).")
    for key in ("client_holdout", "held_out_clients"):
        share = getattr(config.split, key)
        if not 0 <= share < 1:
            raise ConfigError(f"split.{key}={share} must be in [0, 1).")
    if config.seed < 0:
        raise ConfigError(f"seed={config.seed} must be >= 0.")


def _check_group_norms(privacy: PrivacyConfig) -> None:
    """Each above 0 and at most ``max_grad_norm``, to which the noise belongs; none at all is None."""
    given = privacy.group_norms
    if given is None:
        return
    if not isinstance(given, dict) or not given or not all(isinstance(own, dict) and own for own in given.values()):
        raise ConfigError(
            f"privacy.group_norms={given} must give groups a norm, such as "
            "privacy.group_norms='{sex: {Male: 0.5}}'."
        )
    for attribute, norms in given.items():
        for name, norm in norms.items():
            number = isinstance(norm, int | float) and not isinstance(norm, bool) and 0 < norm < math.inf
            most = privacy.max_grad_norm
            if not number or (most is not None and norm > most):
                raise ConfigError(
                    f"privacy.group_norms.{attribute}.{name}={norm} must lie above 0 and be at most "
                    f"privacy.max_grad_norm{'' if most is None else f'={most:g}'}, for which the noise is made."
                )


def _check_budget(key: str, epsilon: float | None) -> None:
    if epsilon is not None and not epsilon > 0:
        raise ConfigError(
            f"privacy.{key}={epsilon} must be > 0 (inf: clip and sample, but add no noise and claim nothing)."
        )
    if epsilon is not None and _LARGEST_EPSILON < epsilon < math.inf:
        raise ConfigError(
            f"privacy.{key}={epsilon:g} protects nothing and cannot be calibrated; use at most "
            f"{_LARGEST_EPSILON:g}, or inf for no noise."
        )


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
        if any(name == f"privacy.{key.name}" or name.startswith(f"privacy.{key.name}.") for name in chosen):
            raise ConfigError(
                f"privacy.{key.name} has no meaning with privacy={privacy.mechanism}; drop it, or choose another "
                f"mechanism ({', '.join(f'privacy={name}' for name in _with_key(key.name))})."
            )
        setattr(privacy, key.name, getattr(PrivacyConfig(), key.name))
    if privacy.mechanism == "none":
        return
    _check_noise(privacy, of="")
    if privacy.mechanism == "both_units":
        _check_noise(privacy, of="example_")
        if (privacy.epsilon == math.inf) != (privacy.example_epsilon == math.inf):
            raise ConfigError(
                "privacy=both_units adds both noises, or (privacy.epsilon=inf privacy.example_epsilon=inf) none: "
                "for one alone use privacy=central or privacy=example."
            )
    if privacy.mechanism == "example" and privacy.layer_norms:
        _check_gradient_layers(config)
    if privacy.client_budgets:
        _check_client_budgets(privacy, config.strategy.algorithm)
    for key_name in allowed:
        if getattr(privacy, key_name) is None and key_name not in _OPTIONAL:
            raise ConfigError(f"privacy={privacy.mechanism} needs privacy.{key_name}.")


def _check_noise(privacy: PrivacyConfig, *, of: str) -> None:
    epsilon, multiplier = getattr(privacy, f"{of}epsilon"), getattr(privacy, f"{of}noise_multiplier")
    if epsilon is None and multiplier is None:
        raise ConfigError(
            f"privacy={privacy.mechanism} needs privacy.{of}epsilon (the noise is calibrated to it) or "
            f"privacy.{of}noise_multiplier (epsilon is computed from it); with both, the run stops at epsilon."
        )
    if epsilon == math.inf and multiplier is not None:
        raise ConfigError(
            f"privacy.{of}epsilon=inf means no noise: drop privacy.{of}noise_multiplier, or drop {of}epsilon."
        )


_RULES = ({"epsilon", "share"}, {"epsilon", "clients"}, {"epsilon", "column", "value"})


def _check_gradient_layers(config: Config) -> None:
    if config.privacy.group_norms:
        raise ConfigError("privacy.layer_norms and privacy.group_norms cannot be had together: drop one of them.")
    if config.strategy.personal:
        raise ConfigError(
            "privacy.layer_norms names layers that travel, but strategy.personal keeps some at the clients: drop one."
        )


def _check_client_budgets(privacy: PrivacyConfig, algorithm: str) -> None:
    if algorithm == "flower":
        raise ConfigError("With strategy=flower the strategy samples, and nobody retires: drop privacy.client_budgets.")
    if privacy.epsilon == math.inf:
        raise ConfigError("privacy.epsilon=inf means no noise: drop privacy.client_budgets, or give an epsilon.")
    for number, rule in enumerate(privacy.client_budgets):
        where = f"privacy.client_budgets[{number}]"
        if not isinstance(rule, dict) or set(rule) not in _RULES:
            raise ConfigError(
                f"{where}={rule} must be {{epsilon: E, share: S}}, {{epsilon: E, clients: [ids]}} or "
                "{epsilon: E, column: NAME, value: CODE}."
            )
        epsilon, most = rule["epsilon"], math.inf if privacy.epsilon is None else privacy.epsilon
        if not _is_number(epsilon) or not 0 < epsilon <= min(most, _LARGEST_EPSILON):
            raise ConfigError(
                f"{where}: epsilon={epsilon} must be a positive number of at most privacy.epsilon={privacy.epsilon}, "
                "which is everybody else's."
            )
        if "share" in rule and not (_is_number(rule["share"]) and 0 < rule["share"] <= 1):
            raise ConfigError(f"{where}: share={rule['share']} must be in (0, 1].")
        ids = rule.get("clients", [0])
        if not isinstance(ids, list) or not ids or not all(_is_whole(one) for one in ids):
            raise ConfigError(f"{where}: clients={ids} must be a list of client ids, such as [0, 3].")
        if "value" in rule and not _is_whole(rule["value"]):
            raise ConfigError(
                f"{where}: value={rule['value']} must be a code of the column: 0 for the first value of its vocabulary."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _with_key(name: str) -> list[str]:
    return [choice for choice, keys in _MECHANISM_KEYS.items() if name in keys or name in _SHARED_PRIVACY_KEYS][-3:]


def _one_of(key: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{key}={value} is unknown; use one of {', '.join(known)}.")


def _check_model(model: dict[str, Any]) -> None:
    lists = {"trainable": model["trainable"], "lora_layers": model["lora_layers"]}
    for key, value in lists.items():
        texts = isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        if not texts and not (key == "trainable" and value is None):
            raise ConfigError(f"model.{key}={value} must be a list of name patterns, such as model.{key}=['fc2.*'].")
    if model["init"] is not None and not isinstance(model["init"], str):
        raise ConfigError(f"model.init={model['init']} must be a file (safetensors), or null.")
    rank, alpha = model["lora_rank"], model["lora_alpha"]
    if rank is not None and (not isinstance(rank, int) or isinstance(rank, bool) or rank < 1):
        raise ConfigError(f"model.lora_rank={rank} must be a whole number >= 1, or null for no adapters.")
    if rank is None and (alpha is not None or model["lora_layers"] != MODEL_KEYS["lora_layers"]):
        raise ConfigError("model.lora_alpha and model.lora_layers need model.lora_rank=N: else there are no adapters.")
    number = isinstance(alpha, int | float) and not isinstance(alpha, bool) and 0 < alpha < math.inf
    if alpha is not None and not number:
        raise ConfigError(f"model.lora_alpha={alpha} must be a positive number, or null for model.lora_rank.")


def _check_tracking(tracking: dict[str, Any]) -> None:
    """Drops what was taken out, and fills in the time that a callback may take; building it checks its arguments."""
    for name in [name for name, spec in tracking.items() if spec is None]:
        del tracking[name]
    for name, spec in tracking.items():
        if not isinstance(spec, dict):
            raise ConfigError(
                f"tracking.{name}={spec} must be a callback: a mapping with the key _target_, or null for none."
            )
        timeout = spec.setdefault("timeout", _TRACKER_SECONDS)
        number = isinstance(timeout, int | float) and not isinstance(timeout, bool) and 0 < timeout < math.inf
        if not number:
            raise ConfigError(f"tracking.{name}.timeout={timeout} must be a positive number of seconds.")


def _check_audit(audit: dict[str, Any]) -> None:
    if not audit:
        return
    keys = ("kind", "canaries", "guesses", "bound", "confidence")
    if set(audit) != set(keys):
        raise ConfigError(f"audit has the keys {', '.join(keys)}, not {', '.join(map(str, audit))}: choose audit=NAME.")
    _one_of("audit.kind", str(audit["kind"]), ("client", "example", "gradient"))
    _one_of("audit.bound", str(audit["bound"]), ("one_run", "f_dp"))
    canaries, guesses, confidence = audit["canaries"], audit["guesses"], audit["confidence"]
    if not _is_whole(canaries) or not 2 <= canaries <= _MOST_CANARIES:
        raise ConfigError(f"audit.canaries={canaries} must be a whole number from 2 to {_MOST_CANARIES}.")
    if guesses is not None and (not _is_whole(guesses) or not 2 <= guesses <= canaries):
        raise ConfigError(f"audit.guesses={guesses} must be a whole number from 2 to {canaries} (canaries), or null.")
    if not _is_number(confidence) or not 0.5 <= confidence < 1:
        raise ConfigError(f"audit.confidence={confidence} must be in [0.5, 1).")


def _check_attack(attack: dict[str, Any]) -> None:
    """Drops what was taken out; building it checks its arguments."""
    for name in [name for name, spec in attack.items() if spec is None]:
        del attack[name]
    for name, spec in attack.items():
        if not isinstance(spec, dict):
            raise ConfigError(
                f"attack.{name}={spec} must be an attack: a mapping with the key _target_, or null for none."
            )
    tampering = [name for name, spec in attack.items() if "attackers" in spec]
    if len(tampering) > 1:
        raise ConfigError(
            f"attack={' and '.join(tampering)} would each change the run, and none could be told from the other: "
            "choose one of them."
        )


def _check_strategy(config: Config) -> None:
    strategy, training = config.strategy, config.training
    algorithm = strategy.algorithm
    if training.function is not None and protects(config.privacy.mechanism, "example"):
        raise ConfigError(
            f"training.function trains as it likes, which is not DP-SGD: privacy={config.privacy.mechanism} cannot "
            "hold. Use "
            "privacy=central (the whole update is clipped, however it came about) or privacy=none."
        )
    if strategy.personal and algorithm != "personal_layers":
        raise ConfigError("strategy.personal needs strategy=personal_layers.")
    if algorithm in ("scaffold", "fednova"):
        _check_step_counting(config)
    if algorithm == "flower":
        _check_flower(config)
    elif strategy.flower or strategy.client_app or strategy.mods:
        raise ConfigError("strategy.flower, strategy.client_app and strategy.mods need strategy=flower.")


def _check_step_counting(config: Config) -> None:
    """SCAFFOLD and FedNova: what they compute from a client's update holds for plain SGD only."""
    name, optimizer = config.strategy.algorithm, config.training.optimizer
    plain = optimizer.get("_target_") == "torch.optim.SGD" and not optimizer.get("momentum")
    if not plain or config.training.function is not None:
        raise ConfigError(
            f"strategy={name} reads gradients off a client's update, which holds for plain SGD only: use "
            "training=sgd without momentum."
        )
    if name == "fednova" and config.training.proximal_mu:
        raise ConfigError("strategy=fednova counts plain SGD steps: set training.proximal_mu=0.")
    if protects(config.privacy.mechanism, "client"):
        why = {
            "scaffold": "the clients' control variates would be a second release, which nothing clips or noises",
            "fednova": "it scales the noisy sum by the cohort's mean number of steps, which depends on who is in it",
        }[name]
        raise ConfigError(
            f"strategy={name} is not private at client level: {why}. Use privacy=example, privacy=none, or "
            "strategy=fedavg."
        )


def _check_flower(config: Config) -> None:
    strategy = config.strategy
    if config.clients_per_node != 1:
        raise ConfigError("strategy=flower drives one client a node: leave clients_per_node=1.")
    if protects(config.privacy.mechanism, "client"):
        raise ConfigError(
            "strategy=flower aggregates what clients send as it likes, so no noise of "
            f"privacy={config.privacy.mechanism} would be calibrated to it. Use privacy=example (the clients earn it), "
            "privacy=none, or one of fedpriv's own strategies."
        )
    sampling = config.sampling
    if sampling.kind != "auto" or sampling.cohort is not None or sampling.participation_cap is not None:
        raise ConfigError(
            "With strategy=flower the strategy samples: leave sampling alone and set strategy.flower.fraction_train."
        )
    if protects(config.privacy.mechanism, "example") and strategy.client_app:
        raise ConfigError(
            "strategy.client_app trains as it likes, which is not DP-SGD: use privacy=none, or fedpriv's own clients."
        )
    if protects(config.privacy.mechanism, "example") and any(not _of_flower(mod) for mod in strategy.mods):
        raise ConfigError(
            "With privacy=example only Flower's own mods are taken: one of your own could release what DP-SGD protects."
        )


def _of_flower(mod: Any) -> bool:
    name = mod.get("_target_") if isinstance(mod, dict) else mod
    return str(name).startswith("flwr.")
