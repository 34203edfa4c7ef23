"""What of an experiment comes from Flower: a strategy, client mods, somebody's own ClientApp."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from fedpriv.accounting.claims import protects
from fedpriv.config import Config
from fedpriv.errors import ConfigError
from fedpriv.federation import ClientApp, Strategy, quiet_flower
from fedpriv.targets import TARGET, build, resolve

_PLAIN_STEP = {TARGET: "torch.optim.SGD", "lr": 1.0}


def make_strategy(config: Config) -> Strategy:
    """A fresh strategy.

    It does no evaluation of its own unless it is told to: that is the experiment's.
    """
    where = "strategy.flower"
    with quiet_flower(logging.ERROR):  # it warns that there will be no evaluation
        return build(
            _with_built_parts(config.strategy.flower, where), expected=Strategy, where=where, fraction_evaluate=0.0
        )


def _with_built_parts(spec: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {key: _built(value, f"{where}.{key}") for key, value in spec.items()}


def _built(value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and TARGET in value:
        return build(_with_built_parts(value, where), expected=object, where=where, fraction_evaluate=0.0)
    return value


def make_mods(config: Config) -> list[Any]:
    """The mods, in the order in which they are wrapped around training."""
    return [_mod(spec, f"strategy.mods[{i}]") for i, spec in enumerate(config.strategy.mods)]


def _mod(spec: Any, where: str) -> Any:
    if isinstance(spec, str):
        mod: Any = resolve({TARGET: spec}, where)
        if inspect.isclass(mod):
            raise ConfigError(f"{where}: {spec} is a class; write {{{TARGET}: {spec}, ARGUMENT: VALUE}} to make one.")
    elif isinstance(spec, Mapping):
        mod = build(_with_built_parts(spec, where), expected=object, where=where)
    else:
        raise ConfigError(f"{where}={spec} must be the dotted name of a function, or {{{TARGET}: NAME, ...}}.")
    try:
        inspect.signature(mod).bind(None, None, None)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: {_name(spec)} is no Flower mod, which takes a message, a context and the next app."
        ) from error
    return mod


def load_client_app(config: Config) -> ClientApp:
    """The ClientApp that ``strategy.client_app`` names."""
    found: Any = resolve(_client_app_spec(config), "strategy.client_app")
    if not isinstance(found, ClientApp):
        raise ConfigError(
            f"strategy.client_app={config.strategy.client_app} is no flwr.clientapp.ClientApp; name the variable that "
            "holds one, such as package.client_app:app."
        )
    return found


def _client_app_spec(config: Config) -> dict[str, Any]:
    return {TARGET: str(config.strategy.client_app).replace(":", ".")}


def flower_targets(config: Config) -> list[Mapping[str, Any]]:
    """Everything with a ``_target_`` among these, for ``own_code``."""
    strategy = config.strategy
    found = [*_targets(strategy.flower)]
    for mod in strategy.mods:
        found += [{TARGET: mod}] if isinstance(mod, str) else _targets(mod)
    return [*found, _client_app_spec(config)] if strategy.client_app else found


def _targets(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if TARGET in value:
            yield value
        for inner in value.values():
            yield from _targets(inner)


def samples_blindly(config: Config) -> bool:
    """Whether the strategy is Flower's own throughout: its sampling is random and knows no data."""
    return all(str(spec[TARGET]).startswith("flwr.") for spec in _targets(config.strategy.flower))


def check_flower(config: Config, *, num_clients: int) -> None:
    """Raise ConfigError for what could only fail, wait for ever, or be ignored, once messages are sent.

    Args:
        num_clients: who may be trained.
    """
    strategy = make_strategy(config)
    make_mods(config)
    if config.strategy.client_app:
        load_client_app(config)
    if config.strategy.weighting != "examples":
        raise ConfigError(
            "strategy.weighting means nothing to a Flower strategy: leave it, and see strategy.flower.weighted_by_key."
        )
    if config.strategy.optimizer != _PLAIN_STEP:
        raise ConfigError("With strategy=flower the strategy makes the server's step: leave strategy.optimizer alone.")
    for part in _layers(strategy):
        _check_layer(part, config, num_clients)


def _layers(strategy: Any) -> Iterator[Any]:
    """The strategy, and those that it wraps."""
    while isinstance(strategy, Strategy):
        yield strategy
        strategy = getattr(strategy, "strategy", None)


def _check_layer(strategy: Strategy, config: Config, num_clients: int) -> None:
    name, example = type(strategy).__name__, protects(config.privacy.mechanism, "example")
    if type(strategy).start is not Strategy.start:
        raise ConfigError(
            f"{name} overrides start(), which is not called here: the rounds are the experiment's. Move what it does "
            "to configure_train and aggregate_train."
        )
    needed = _nodes_needed(strategy, num_clients)
    if needed > num_clients:
        raise ConfigError(
            f"{name} would wait for ever for {needed} nodes: {num_clients} clients may be trained. Lower "
            "strategy.flower's min_available_nodes, min_train_nodes or fraction_train, or use more clients."
        )
    if example and getattr(strategy, "fraction_evaluate", None):
        raise ConfigError(
            "With privacy=example no strategy is told what clients measure on their own data: set "
            "strategy.flower.fraction_evaluate=0. The experiment itself evaluates (evaluation.clients)."
        )
    if example and hasattr(strategy, "train_loss_key"):
        raise ConfigError(
            f"{name} weighs clients by their training loss, which DP-SGD does not protect: use privacy=none, or "
            "another strategy."
        )
    asked: Any = getattr(strategy, "proximal_mu", config.training.proximal_mu)
    if not config.strategy.client_app and asked != config.training.proximal_mu:
        raise ConfigError(
            f"{name} asks its clients for proximal_mu={asked}, but they would train with "
            f"training.proximal_mu={config.training.proximal_mu:g}: set both to the same."
        )


def _nodes_needed(strategy: Any, num_clients: int) -> int:
    """As in Flower's ``sample_nodes``, which waits until so many nodes are there."""
    needed = [0]
    for phase in ("train", "evaluate"):
        fraction = getattr(strategy, f"fraction_{phase}", None)
        if fraction:
            least = getattr(strategy, f"min_{phase}_nodes", 0), getattr(strategy, "min_available_nodes", 0)
            needed += [int(num_clients * fraction), *least]
    return max(needed)


def _name(spec: Any) -> str:
    return str(spec.get(TARGET) if isinstance(spec, Mapping) else spec)
