"""What a client does with its data: optimizer, local rule, trainer."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fedpriv.config import Config
from fedpriv.errors import ConfigError, in_one_line
from fedpriv.models import ParameterLayout
from fedpriv.streams import global_coins
from fedpriv.targets import partial_target
from fedpriv.training import Engine, Wishes
from fedpriv.training.rules import FedNovaRule, LocalRule, PersonalLayersRule, PlainRule, ScaffoldRule


def local_optimizer(config: Config) -> Any:
    """A function of parameters: the clients' optimizer."""
    make = partial_target(
        config.training.optimizer,
        expected=torch.optim.Optimizer,
        where="training.optimizer",
        positional=1,
        lr=config.training.lr,
    )
    return partial(make_optimizer, make, where="training.optimizer")


def make_optimizer(make: Any, parameters: Any, where: str) -> torch.optim.Optimizer:
    """``make(parameters)``, with what torch refuses as a ConfigError."""
    try:
        optimizer: torch.optim.Optimizer = make(parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}.") from error
    return optimizer


def check_optimizer(make: Any, where: str) -> None:
    """A trial step: some optimizers need a closure, or sparse gradients."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    optimizer = make([parameter])
    parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:
        raise ConfigError(
            f"{where}: {type(optimizer).__name__} cannot take a plain step ({error}). Use another, such as "
            "torch.optim.SGD."
        ) from error


def tuning_wishes(config: Config) -> Wishes:
    """What the config says itself of how its work is cut."""
    engine = config.training.engine
    return Wishes(engine=None if engine == "auto" else cast(Engine, engine), **vars(config.tuning))


def shared_layout(model: nn.Module, config: Config) -> ParameterLayout:
    """The parameters that travel: the trainable ones that no client keeps to itself."""
    if config.strategy.algorithm == "personal_layers" and not config.strategy.personal:
        names = ", ".join(ParameterLayout.of(model).names[:6])
        raise ConfigError(
            "strategy=personal_layers needs strategy.personal=[PATTERN, ...]: which parameters stay with the clients. "
            f"This model has {names}, ..."
        )
    return ParameterLayout.of(model, without=tuple(config.strategy.personal))


def local_rule(model: nn.Module, config: Config) -> LocalRule:
    """The client's half of the federated algorithm."""
    algorithm = config.strategy.algorithm
    if algorithm == "scaffold":
        return ScaffoldRule(lr=config.training.lr)
    if algorithm == "fednova":
        return FedNovaRule()
    if algorithm == "personal_layers":
        everything, shared = ParameterLayout.of(model), shared_layout(model, config)
        kept = [i for i, name in enumerate(everything.names) if name not in shared.names]
        layout = ParameterLayout(
            names=tuple(everything.names[i] for i in kept),
            shapes=tuple(everything.shapes[i] for i in kept),
            dtypes=tuple(everything.dtypes[i] for i in kept),
        )
        return PersonalLayersRule(layout=layout, initial=layout.from_module(model))
    return PlainRule()


def check_function(function: Callable[..., Any], model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """A trial on a model and two test examples that nobody keeps.

    Raises:
        ConfigError: in the words of what the function raised.
    """
    try:
        with global_coins(np.random.default_rng(0)):
            function(model, DataLoader(TensorDataset(x, y), batch_size=2))
    except Exception as error:
        raise ConfigError(
            f"training.function failed on two examples: {in_one_line(error)}. It is called as "
            "function(model, loader, ...), and the loader gives pairs (x, y) of tensors."
        ) from error


def local_function(config: Config) -> Callable[..., Any]:
    """The user's own local training: a function of a model and a loader."""
    spec = config.training.function
    if not isinstance(spec, dict):
        raise ConfigError(f"training.function={spec} must be {{_target_: NAME, ARGUMENT: VALUE}}, or null.")
    return partial_target(spec, expected=object, where="training.function", positional=2)
