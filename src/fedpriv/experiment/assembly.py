"""From a config to objects: data, model, sampler, mechanism, accounting. The last layer that sees a config."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv import __version__
from fedpriv.accounting.claims import noise_by_server, protects
from fedpriv.config import MODEL_KEYS, Config, run_id, tampering
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.experiment.client_side import (
    check_function,
    check_optimizer,
    local_function,
    local_optimizer,
    make_optimizer,
    shared_layout,
    tuning_wishes,
)
from fedpriv.experiment.cohorts import cohort_sampler, participation_cap
from fedpriv.experiment.flower_side import (
    check_flower,
    flower_targets,
    make_strategy,
    samples_blindly,
)
from fedpriv.experiment.group_norms import example_groups
from fedpriv.experiment.loading import PURPOSES, load_data
from fedpriv.experiment.privacy import PrivacyTerms, Setting
from fedpriv.experiment.privacy.client_budgets import client_budgets
from fedpriv.federation import (
    FedNovaServerRule,
    PlainServerRule,
    ScaffoldServerRule,
    ServerRule,
    StockAlgorithm,
)
from fedpriv.models import ParameterLayout, adapt
from fedpriv.own_code import own_code
from fedpriv.privacy import CohortSampler, Mechanism
from fedpriv.runtimes.choice import pool_kind
from fedpriv.runtimes.default_workers import as_many_as_fit, default_workers
from fedpriv.runtimes.pools import PoolKind
from fedpriv.runtimes.ray import cluster_slots
from fedpriv.streams import Streams, seed_key
from fedpriv.targets import build, partial_target
from fedpriv.training import (
    ELEMENTWISE,
    AdditiveTask,
    Formulation,
    Task,
    Tuning,
    check_model,
    choose_tuning,
    find_formulation,
    fix_model,
    make_task,
)
from fedpriv.training.layer_clipping import are_apart
from fedpriv.training.preflight import check_shapes

# Purposes of the streams, by the seed that keys them.
_PURPOSES = {
    "data": (*PURPOSES, "budgets"),
    "sampling": ("cohort", "batches", "dropout", "training", "canaries", "attackers", "tampering"),
    "model": ("model",),
    "noise": ("noise", "commitment", "masks"),
}


@dataclass(frozen=True)
class Experiment:
    """One experiment, checked and built, before a folder exists.

    Args:
        config: as composed.
        data: the clients' examples.
    """

    config: Config
    data: FederatedData

    @staticmethod
    def assemble(config: Config) -> "Experiment":
        """Load the data and check that everything fits.

        Raises:
            InputError: data, model, sampling or accounting that cannot be run, each with the mend.
        """
        torch.set_num_threads(config.threads)
        experiment = Experiment(config=config, data=load_data(config))
        experiment.check()
        return experiment

    def check(self) -> None:
        """Raise ConfigError for anything that could only fail later."""
        _check_device(self.config.device)
        mechanism = self.config.privacy.mechanism
        if protects(mechanism, "example") and not isinstance(self.task, AdditiveTask):
            raise ConfigError(
                f"The loss of task={type(self.task).__name__.lower()} compares examples with each other, so it is no "
                f"sum over examples and no single one's influence can be clipped: privacy={mechanism} cannot hold. Use "
                "privacy=central or privacy=none."
            )
        model = self.new_model()
        self._check_model(model)
        self.layout(model)
        check_optimizer(local_optimizer(self.config), "training.optimizer")
        check_optimizer(self.server_optimizer, "strategy.optimizer")
        if self.is_stock:
            check_flower(self.config, num_clients=len(self.data.population_ids))
        if self.config.training.function is not None:
            x, y = (tensor.to(self.device) for tensor in next(self.data.test_batches(2)))
            check_function(local_function(self.config), self.new_model(), x, y)
        example_groups(self.config, self.data)
        self.privacy.check()

    def _check_model(self, model: nn.Module) -> None:
        sample, output_shape = self.data.sample(3), self.task.output_shape
        if self.client_app_is_own:  # which trains as it likes, running statistics included
            check_shapes(model, sample.to(self.device), output_shape)
            return
        check_model(
            model,
            example_level=protects(self.config.privacy.mechanism, "example"),
            sample=sample,
            num_tokens=self.data.num_tokens,
            output_shape=output_shape,
            formulation=self.formulation,
        )
        if self.config.training.engine == "vectorized" and self.formulation is None:
            raise ConfigError(
                f"training.engine=vectorized cannot do these local steps: {self.not_vectorized}. Use "
                "training.engine=auto, which takes another engine then."
            )

    # -- identity ------------------------------------------------------------------------------------------

    @cached_property
    def formulation(self) -> Formulation | None:
        """How the vectorised engine can do this model's local steps; None where it cannot, or shall not."""
        if self.config.training.engine not in ("auto", "vectorized") or self._obstacle is not None:
            return None
        model, example_level = self.new_model(), protects(self.config.privacy.mechanism, "example")
        found = find_formulation(model, self.data.sample(1), self.data.num_tokens, by_example=example_level)
        if found is None or not (example_level and self.config.privacy.layer_norms):
            return found
        return found if are_apart(found.methods, ParameterLayout.of(model).names) else None

    @property
    def not_vectorized(self) -> str | None:
        """Why the vectorised engine cannot do the local steps; None where it can."""
        if self.formulation is not None:
            return None
        return (
            self._obstacle
            or "no way of stacking this model gives what autograd does, or examples of a batch meet, or "
            "privacy.layer_norms asks for norms of layers that can only be stacked together"
        )

    @property
    def _obstacle(self) -> str | None:
        """What keeps the vectorised engine from any model."""
        if self.client_app_is_own:
            return "strategy.client_app trains as it likes"
        if self.config.training.function is not None:
            return "training.function trains as it likes"
        optimizer = type(local_optimizer(self.config)([nn.Parameter(torch.zeros(1))]))
        if optimizer not in ELEMENTWISE:
            return f"{optimizer.__name__} is none of torch.optim's that step on every number by itself"
        if not isinstance(self.task, AdditiveTask):
            return "the loss is no sum over examples"
        return None

    @cached_property
    def tuning(self) -> Tuning:
        config = self.config
        return choose_tuning(
            tuning_wishes(config),
            model=self.new_model(),
            sample=self.data.sample(1),
            formulation=self.formulation,
            example_level=protects(config.privacy.mechanism, "example"),
            batch_size=config.training.batch_size,
            expected_cohort=self.sampler(self.streams(None)).law.cohort,
            clients_per_node=config.clients_per_node,
            threads=config.threads,
            device=self.device,
        )

    @cached_property
    def own_code(self) -> dict[str, str]:
        """What the user's own targets come from."""
        config = self.config
        parts = (config.data, config.partition, config.model, config.training.optimizer, config.training.function or {})
        found = own_code((*parts, config.strategy.optimizer, *flower_targets(config), *tampering(config).values()))
        return found if config.model["init"] is None else {**found, "model.init": self.initial_weights[1]}

    @cached_property
    def initial_weights(self) -> tuple[Path, str]:
        """The file that ``model.init`` names, and its sha256."""
        path = Path(self.config.model["init"]).expanduser()
        try:
            return path, hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ConfigError(f"model.init: cannot read {path}: {error.strerror}.") from error

    def run_id(self, *, version: str = __version__) -> str:
        return run_id(
            self.config,
            code=self.own_code,
            data_fingerprint=self.data.fingerprint,
            tuning=self.tuning.to_json(),
            version=version,
        )

    @property
    def num_nodes(self) -> int:
        """One a worker, or one for every ``clients_per_node`` clients."""
        if self.config.clients_per_node is None:
            return self.workers
        return math.ceil(self.data.num_clients / self.config.clients_per_node)

    @cached_property
    def workers(self) -> int:
        """Processes that train; 1: this one. Unless a number is asked for, by the size of the job."""
        config, data = self.config, self.data
        if config.workers is not None:
            return config.workers
        if self.device.type != "cpu" or self._is_typed_in:
            return 1
        cohort = self.sampler(self.streams(None)).law.cohort
        most = math.ceil(cohort / self.tuning.chunk_size)
        if config.runtime.kind == "ray":  # asked for, so the job is large
            return as_many_as_fit(most=most, slots=cluster_slots(threads=config.threads), threads=config.threads)
        mean_size = float(data.client_sizes[data.population_ids].mean())
        return default_workers(
            examples=config.rounds * cohort * mean_size * config.training.local_epochs,
            parameters=sum(parameter.numel() for parameter in self.new_model().parameters()),
            most=most,
            threads=config.threads,
        )

    @property
    def _is_typed_in(self) -> bool:
        """Whether code of the user's own is in this process only."""
        return any(name.partition(".")[0] == "__main__" for name in self.own_code)

    @property
    def pool_kind(self) -> PoolKind | None:
        """Which processes train; None: this one."""
        config = self.config
        if config.runtime.kind == "ray" and config.workers is None and self._is_typed_in:
            raise ConfigError(
                "runtime=ray cannot take code that is typed in, since no other process has it: put it into a file that "
                "can be imported, or use runtime=inprocess."
            )
        return pool_kind(runtime=config.runtime.kind, workers=self.workers, threads=config.threads)

    # -- randomness ----------------------------------------------------------------------------------------

    def streams(self, noise_key: bytes | None, *, attempt: int = 0) -> Streams:
        """Every purpose's key; with a secret, it keys all coins that a proof relies on.

        Rounds released again under another ``attempt`` are accounted as independent releases: a cohort whose
        sampling amplifies is drawn anew. (Batches, noise and the models' coins have the attempt in their position.)
        """
        seeds = self.config.seeds
        keys: dict[str, bytes] = {}
        for name, purposes in _PURPOSES.items():
            seed = getattr(seeds, name)
            given = seed if isinstance(seed, int) else self.config.seed
            keys.update(dict.fromkeys(purposes, seed_key(given)))
        mechanism = self.config.privacy.mechanism
        amplified = noise_by_server(mechanism)
        # at example level a proof says nothing of one who knows which units dropout layers left out for whom
        also = ["cohort"] * amplified + ["training"] * protects(mechanism, "example")
        if noise_key is not None:
            secret = ["noise", "commitment", "masks", "batches", *also]
            key = hashlib.sha256(b"fedpriv noise key" + noise_key).digest()
            keys.update(dict.fromkeys(secret, key))
        if attempt > 0 and amplified:
            keys["cohort"] = hashlib.sha256(b"fedpriv attempt %d" % attempt + keys["cohort"]).digest()
        return Streams(keys=keys)

    @property
    def noise_is_secret(self) -> bool:
        return bool(self.config.seeds.noise == "secret")

    # -- parts ---------------------------------------------------------------------------------------------

    @cached_property
    def task(self) -> Task:
        return make_task(
            self.config.task,
            targets=self.data.targets,
            label_shape=self.data.train.y.shape[1:],
            num_classes=self.data.num_classes,
            label_range=self.data.label_range,
        )

    @cached_property
    def client_weights(self) -> np.ndarray:
        """Of each client in the mean: its examples, or 1."""
        sizes = self.data.client_sizes.astype(np.float64)
        return sizes if self.config.strategy.weighting == "examples" else np.ones_like(sizes)

    def server_rule(self, layout: ParameterLayout) -> ServerRule:
        """The server's half of the federated algorithm."""
        algorithm = self.config.strategy.algorithm
        if algorithm == "scaffold":
            return ScaffoldServerRule(size=layout.size, population=len(self.data.population_ids))
        return FedNovaServerRule() if algorithm == "fednova" else PlainServerRule()

    def layout(self, model: nn.Module) -> ParameterLayout:
        """The parameters that travel."""
        return shared_layout(model, self.config)

    @property
    def device(self) -> torch.device:
        return torch.device(self.config.device)

    def new_model(self) -> nn.Module:
        """The model with its initial weights, a function of the model seed and of ``model.init``."""
        return self._new_model()[0]

    @property
    def not_in_init(self) -> tuple[str, ...]:
        """Tensors of the model that ``model.init`` lacks: they start from the model seed."""
        return () if self.config.model["init"] is None else self._new_model()[1]

    def _new_model(self) -> tuple[nn.Module, tuple[str, ...]]:
        adaptation = {key: self.config.model[key] for key in MODEL_KEYS}
        own = {key: value for key, value in self.config.model.items() if key not in adaptation}
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.streams(None).torch_state("model"))
            model = build(
                own,
                expected=nn.Module,
                where="model",
                input_shape=self.data.input_shape,
                num_outputs=self.task.output_shape[-1],
                num_classes=self.data.num_classes,
                num_tokens=self.data.num_tokens,
            )
            model = fix_model(model) if self.config.fix_model else model
            if adaptation["init"] is not None:
                adaptation["init"] = self.initial_weights[0]
            if adaptation["lora_alpha"] is None:
                adaptation["lora_alpha"] = float(adaptation["lora_rank"] or 1)
            missing = adapt(model, **adaptation)
            return model.to(self.device), missing

    def server_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        make = partial_target(
            self.config.strategy.optimizer,
            expected=torch.optim.Optimizer,
            where="strategy.optimizer",
            positional=1,
        )
        return make_optimizer(make, parameters, "strategy.optimizer")

    def sampler(self, streams: Streams) -> CohortSampler:
        """Who takes part in which round."""
        return cohort_sampler(self.config, self.data.population_ids, streams)

    @cached_property
    def privacy(self) -> PrivacyTerms:
        """What is protected, by which mechanism, and what may be said of it."""
        sampler = self.sampler(self.streams(None))
        setting = Setting(
            config=self.config,
            data=self.data,
            sampler=sampler,
            participation_cap=participation_cap(self.config, sampler.law),
            layout=self.layout(self.new_model()),
            noise_knows_schedule=True,
            client_budgets=client_budgets(self.config, self.data, self.streams(None)),
        )
        return PrivacyTerms(setting=setting, caveats=self._caveats())

    def _caveats(self) -> list[str]:
        found = list(self.data.caveats)
        if own := [name for name in self.own_code if name != "model.init"]:
            found.append(f"the user's own code ({', '.join(own)}), where it reaches data that it is not given")
        if self.config.model["init"] is not None:
            found.append(f"the initial weights (model.init, sha256 {self.initial_weights[1]}), which count as public")
        if attacks := ", ".join(f"attack={name}" for name in tampering(self.config)):
            found.append(
                f"attackers who leave the mechanism: those of {attacks} clip and add noise as all clients do, and who "
                "they are counts as public"
            )
            found.append(f"what {attacks} came to (run.json): a second training on the same data is part of it")
        if self.config.strategy.personal and protects(self.config.privacy.mechanism, "client"):
            found.append("the layers that stay with each client (strategy.personal), which only that client may see")
        return found

    # -- stock Flower --------------------------------------------------------------------------------------

    @property
    def is_stock(self) -> bool:
        """Whether a Flower strategy drives the rounds; its state is in no checkpoint."""
        return self.config.strategy.algorithm == "flower"

    @property
    def client_app_is_own(self) -> bool:
        """Whether clients are somebody else's ClientApp, which trains on data of its own."""
        return self.config.strategy.client_app is not None

    def stock_algorithm(self, mechanism: Mechanism, streams: Streams, **shared: Any) -> StockAlgorithm:
        """The server's side of ``strategy=flower``, with a fresh strategy."""
        return StockAlgorithm(
            strategy=make_strategy(self.config),
            whole=self.client_app_is_own,
            clients=self.data.population_ids,
            pay_for_all=not samples_blindly(self.config),
            mechanism=mechanism,
            streams=streams,
            train_config={"lr": self.config.training.lr} if self.client_app_is_own else {},
            **shared,
        )


def _check_device(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device={name} is unknown; use cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name}, but torch finds {torch.cuda.device_count() or 'no'} CUDA devices here; use device=cpu"
            f"{' or cuda' if torch.cuda.is_available() else ''}."
        )
