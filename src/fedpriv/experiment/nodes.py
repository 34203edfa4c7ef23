"""What a node or a worker process runs: the experiment's ClientApp."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv.accounting.claims import noise_by_clients, protects
from fedpriv.experiment.assembly import Experiment
from fedpriv.experiment.client_side import local_function, local_optimizer, local_rule
from fedpriv.experiment.flower_side import load_client_app, make_mods
from fedpriv.experiment.group_norms import example_groups
from fedpriv.experiment.privacy.example import gradient_layers, gradient_norm, local_batches
from fedpriv.experiment.tampering import tampered_by
from fedpriv.federation import (
    App,
    HostedApp,
    Node,
    OneExperimentApp,
    make_client_app,
    make_stock_client_app,
)
from fedpriv.models import ParameterLayout
from fedpriv.privacy import Mechanism
from fedpriv.streams import Streams, global_coins
from fedpriv.training import DpSgd, FunctionTrainer, LocalTrainer, SgdTrainer, ShuffledBatches, VectorizedTrainer
from fedpriv.training.rules import LocalRule


def make_app(experiment: Experiment, mechanism: Mechanism, streams: Streams) -> App:
    """What a node of a simulation, or a worker process, runs."""
    return _make_app(experiment, mechanism, streams, discreet=False)


def make_app_elsewhere(experiment: Experiment) -> App:
    """The app where the server runs elsewhere.

    Noise multipliers come with its messages, and only so; it must mean the same experiment; and it is told no
    diagnostics where the guarantee counts it among the adversaries.
    """
    streams = experiment.streams(None)
    unknown = np.full(experiment.privacy.num_multipliers, np.nan)
    mechanism = experiment.privacy.mechanism(unknown, streams, None)
    app = _make_app(experiment, mechanism, streams, discreet=noise_by_clients(experiment.config.privacy.mechanism))
    return OneExperimentApp(app=app, experiment=experiment.run_id())


def _make_app(experiment: Experiment, mechanism: Mechanism, streams: Streams, *, discreet: bool) -> App:
    torch.set_num_threads(experiment.tuning.threads)
    if experiment.device.type == "cuda":  # full float32, as on a CPU; nothing here uses autocast
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if experiment.client_app_is_own:
        return _hosted(experiment, load_client_app(experiment.config), streams)
    node = make_node(experiment, mechanism, streams)
    if not experiment.is_stock:
        plain: App = make_client_app(node, discreet=discreet)
        return plain
    private = protects(experiment.config.privacy.mechanism, "example")
    mods = make_mods(experiment.config)
    return _hosted(experiment, make_stock_client_app(node, private=private, discreet=discreet, mods=mods), streams)


def make_node(experiment: Experiment, mechanism: Mechanism, streams: Streams) -> Node:
    """What trains and evaluates the experiment's clients."""
    model = experiment.new_model()
    layout = experiment.layout(model)
    rule = local_rule(model, experiment.config)
    trainer = _trainer(experiment, model, layout, rule)
    if experiment.config.audit:
        from fedpriv.experiment.auditing import audit_of  # no worker of another run needs what judges canaries

        if audit := audit_of(experiment):
            trainer = audit.trainer(trainer, streams)
    if tampered := tampered_by(experiment):
        trainer = tampered.trainer(trainer, streams)
    return Node(
        data=experiment.data,
        model=model,
        layout=layout,
        trainer=trainer,
        rule=rule,
        # a stock strategy weighs by itself
        weights=np.ones(experiment.data.num_clients) if experiment.is_stock else experiment.client_weights,
        task=experiment.task,
        mechanism=mechanism,
        streams=streams,
        dropout=experiment.config.federation.dropout,
        device=experiment.device,
    )


def _trainer(experiment: Experiment, model: nn.Module, layout: ParameterLayout, rule: LocalRule) -> LocalTrainer:
    training = experiment.config.training
    if training.function is not None:
        return FunctionTrainer(
            model=model,
            layout=layout,
            function=_repeatable(local_function(experiment.config)),
            batch_size=training.batch_size,
            rule=rule,
            device=experiment.device,
        )
    shared: dict[str, Any] = {
        "model": model,
        "layout": layout,
        "task": experiment.task,
        "make_optimizer": local_optimizer(experiment.config),
        "proximal_mu": training.proximal_mu,
        "rule": rule,
        "device": experiment.device,
    }
    example_level = protects(experiment.config.privacy.mechanism, "example")
    private = local_batches(experiment.config)
    plain = ShuffledBatches(batch_size=training.batch_size, local_epochs=training.local_epochs)
    tuning = experiment.tuning
    groups = example_groups(experiment.config, experiment.data)
    norms: dict[str, Any] = {}
    if example_level:
        privacy, names = experiment.config.privacy, ParameterLayout.of(model).names
        norms["max_grad_norm"] = gradient_norm(privacy, names)
        norms["layer_norms"] = gradient_layers(privacy, names)
    if tuning.formulation is not None:
        return VectorizedTrainer(
            formulation=tuning.formulation,
            stack_size=tuning.stack_size,
            unfolded=tuning.convolutions == "patches",
            channels_last=tuning.memory_format == "channels_last",
            batches=private if example_level else plain,
            private=DpSgd(expected_size=private.expected_size, groups=groups, **norms) if example_level else None,
            **shared,
        )
    if example_level:
        from fedpriv.training.opacus_trainer import OpacusTrainer

        return OpacusTrainer(batches=private, groups=groups, **norms, **shared)
    return SgdTrainer(batches=plain, **shared)


def _repeatable(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with Python's and numpy's global generators keyed by the client's, which torch's holds by then."""

    def call(model: nn.Module, loader: Any) -> Any:
        own = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).digest()
        with global_coins(np.random.default_rng(np.frombuffer(own, dtype=np.uint32))):
            return function(model, loader)

    return call


def _hosted(experiment: Experiment, app: App, streams: Streams) -> App:
    training = experiment.config.training
    return HostedApp(
        app=app,
        streams=streams,
        num_clients=experiment.data.num_clients,
        run_config={  # under the names of Flower's own examples
            "num-server-rounds": experiment.config.rounds,
            "local-epochs": training.local_epochs,
            "batch-size": training.batch_size,
            "learning-rate": training.lr,
        },
    )
