"""From a config to objects: data, model, sampler, mechanism, accounting. The last layer that sees a config."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv import __version__
from fedpriv.config import MODEL_KEYS, Config, run_id
from fedpriv.data import FederatedData
from fedpriv.errors import ConfigError
from fedpriv.experiment.client_side import check_optimizer, local_optimizer, local_rule, make_optimizer, shared_layout
from fedpriv.experiment.cohorts import make_sampler
from fedpriv.experiment.flower_side import (
    check_flower,
    flower_targets,
    load_client_app,
    make_mods,
    make_strategy,
    samples_blindly,
)
from fedpriv.experiment.loading import PURPOSES, load_data
from fedpriv.federation import (
    App,
    FedNovaServerRule,
    HostedApp,
    Node,
    PlainServerRule,
    ScaffoldServerRule,
    ServerRule,
    StockAlgorithm,
    make_client_app,
    make_stock_client_app,
)
from fedpriv.models import ParameterLayout, adapt
from fedpriv.own_code import own_code
from fedpriv.privacy import ClippingGrid, CohortSampler, Mechanism, PoissonBatches, ReleaseEntry
from fedpriv.privacy.calibration import calibrate, calibrate_clients
from fedpriv.privacy.guarantee import Guarantee, state_guarantee
from fedpriv.privacy.mechanisms import CentralGaussian, ExampleGaussian, NoPrivacy
from fedpriv.privacy.plan import Accounting
from fedpriv.privacy.sampled_gaussian import check_accountable
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams, seed_key
from fedpriv.targets import build, partial_target
from fedpriv.training import (
    FunctionTrainer,
    LocalTrainer,
    SgdTrainer,
    Task,
    Tuning,
    check_model,
    choose_tuning,
    fix_model,
    make_task,
)
from fedpriv.training.preflight import check_shapes
from fedpriv.training.rules import LocalRule

# Purposes of the streams, by the seed that keys them.
_PURPOSES = {
    "data": PURPOSES,
    "sampling": ("cohort", "batches", "dropout", "training"),
    "model": ("model",),
    "noise": ("noise", "commitment"),
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
        if self.config.privacy.mechanism == "example" and not self.task.sums_over_examples:
            raise ConfigError(
                f"The loss of task={type(self.task).__name__.lower()} compares examples with each other, so it is no "
                "sum over examples and no single one's influence can be clipped: privacy=example cannot hold. Use "
                "privacy=central or privacy=none."
            )
        self._check_model()
        self.layout(self.new_model())
        check_optimizer(local_optimizer(self.config), "training.optimizer")
        check_optimizer(self.server_optimizer, "strategy.optimizer")
        if self.is_stock:
            check_flower(self.config, num_clients=len(self.data.population_ids))
        if self.config.training.function is not None:
            self._local_function()
        sampler = self.sampler(self.streams(None))
        if self.config.privacy.mechanism != "none":
            check_accountable(
                sampling=self._accounted_sampling(sampler),
                relation=self.accounting.relation,
                accountant=self.accounting.accountant,
            )

    def _check_model(self) -> None:
        model, sample, output_shape = self.new_model(), self.data.sample(3), self.task.output_shape
        if self.client_app_is_own:  # which trains as it likes, running statistics included
            check_shapes(model, sample.to(self.device), output_shape)
            return
        check_model(
            model,
            example_level=self.config.privacy.mechanism == "example",
            sample=sample,
            num_tokens=self.data.num_tokens,
            output_shape=output_shape,
        )

    # -- identity ------------------------------------------------------------------------------------------

    @cached_property
    def tuning(self) -> Tuning:
        return choose_tuning(
            engine=self.config.training.engine,
            example_level=self.config.privacy.mechanism == "example",
            expected_cohort=self.sampler(self.streams(None)).expected_cohort,
            clients_per_node=self.config.clients_per_node,
            threads=self.config.threads,
        )

    @cached_property
    def own_code(self) -> dict[str, str]:
        """What the user's own targets come from."""
        config = self.config
        parts = (config.data, config.partition, config.model, config.training.optimizer, config.training.function or {})
        found = own_code((*parts, config.strategy.optimizer, *flower_targets(config)))
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
            tuning=asdict(self.tuning),
            version=version,
        )

    @property
    def num_nodes(self) -> int:
        """One a worker, or one for every ``clients_per_node`` clients."""
        if self.config.clients_per_node is None:
            return self.config.workers
        return math.ceil(self.data.num_clients / self.config.clients_per_node)

    # -- randomness ----------------------------------------------------------------------------------------

    def streams(self, noise_key: bytes | None, *, attempt: int = 0) -> Streams:
        """Every purpose's key; with a secret, it keys all coins that a proof relies on.

        Rounds released again under another ``attempt`` are accounted as independent releases: a cohort whose
        sampling amplifies is drawn anew. (Batches and noise have the attempt in their position.)
        """
        seeds = self.config.seeds
        keys: dict[str, bytes] = {}
        for name, purposes in _PURPOSES.items():
            seed = getattr(seeds, name)
            given = seed if isinstance(seed, int) else self.config.seed
            keys.update(dict.fromkeys(purposes, seed_key(given)))
        amplified = self.config.privacy.mechanism == "central"
        if noise_key is not None:
            secret = ["noise", "commitment", "batches", *(["cohort"] if amplified else [])]
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
        return make_sampler(self.config, self.data.population_ids, streams)

    # -- privacy -------------------------------------------------------------------------------------------

    @property
    def population(self) -> int:
        """Protected units: clients, or all clients' training examples together."""
        if self.config.privacy.mechanism == "central":
            return len(self.data.population_ids)
        return int(self.data.client_sizes[self.data.population_ids].sum())

    @cached_property
    def delta(self) -> tuple[float, str]:
        """delta and the rule that it comes from."""
        given, n = self.config.privacy.delta, self.population
        if given is None and n < 2:
            raise ConfigError(
                "One protected unit alone has no sensible delta below 1/n; use more clients, or give privacy.delta and "
                "privacy.accept_weak_delta=true."
            )
        if given is None:
            return n**-1.1, f"n^-1.1 with n = {n}"
        if given >= 1 / n and not self.config.privacy.accept_weak_delta:
            raise ConfigError(
                f"privacy.delta={given:g} is not below 1/n = {1 / n:.3g} (n = {n}): releasing one unit's data in the "
                "clear would satisfy it. Use a smaller delta, or set privacy.accept_weak_delta=true."
            )
        return given, "given"

    @cached_property
    def accounting(self) -> Accounting:
        """delta, relation and accountant, with ``auto`` resolved to what judges this sampling."""
        privacy = self.config.privacy
        sampled = self._accounted_sampling(self.sampler(self.streams(None)))
        fixed_size = sampled == "fixed_size"
        relation: Any = privacy.relation
        if relation == "auto":
            relation = "replace_one" if fixed_size else "add_or_remove_one"
        accountant: Any = privacy.accountant
        if accountant == "auto":
            accountant = "rdp" if fixed_size else "pld"
        return Accounting(delta=self.delta[0], relation=relation, accountant=accountant)

    def _accounted_sampling(self, sampler: CohortSampler) -> Any:
        return "poisson" if self.config.privacy.mechanism == "example" else sampler.kind

    @property
    def budget(self) -> float:
        """Epsilon that no release may exceed; ``inf`` for none."""
        epsilon = self.config.privacy.epsilon
        return math.inf if epsilon is None else epsilon

    def noise_multipliers(self) -> np.ndarray:
        """Calibrated, or as given: one per client at example level, shape (1,) at client level, else empty."""
        privacy = self.config.privacy
        if privacy.mechanism == "none":
            return np.zeros(0)
        size = self.data.num_clients if privacy.mechanism == "example" else 1
        if privacy.noise_multiplier is not None:
            return np.full(size, privacy.noise_multiplier)
        if privacy.epsilon == math.inf:
            return np.zeros(size)
        sampler = self.sampler(self.streams(None))
        target: dict[str, Any] = {"target_epsilon": privacy.epsilon, **asdict(self.accounting)}
        if privacy.mechanism == "central":
            rounds = self.config.rounds
            return np.array([calibrate(release_at=lambda z: {sampler.release(z): rounds}, **target)])
        counts = participations(
            sampler, first_round=1, last_round=self.config.rounds, population=self.data.num_clients
        )
        noise = calibrate_clients(rates=self._rates, counts=counts * self._steps, **target)
        return np.full(size, np.nanmax(noise)) if privacy.calibration == "shared" else noise

    def mechanism(self, noise_multipliers: np.ndarray, streams: Streams) -> Mechanism:
        """The mechanism that the config names, with the noise that the plan found."""
        privacy = self.config.privacy
        if privacy.mechanism == "example":
            return ExampleGaussian(
                max_grad_norm=_given(privacy.max_grad_norm),
                rates=self._rates,
                steps=self._steps,
                noise_multipliers=noise_multipliers,
            )
        if privacy.mechanism == "central":
            return CentralGaussian(
                grid=ClippingGrid(
                    clipping_norm=_given(privacy.clipping_norm), summands=len(self.data.population_ids)
                ),
                sampler=self.sampler(streams),
                noise_multiplier=float(noise_multipliers[0]),
                streams=streams,
            )
        return NoPrivacy()

    @property
    def terms(self) -> dict[str, Any] | None:
        """Under which a guarantee of this experiment is stated; logged before training, checked by ``verify``."""
        if self.config.privacy.mechanism == "none":
            return None
        return {
            **asdict(self.accounting),
            "delta_rule": self.delta[1],
            "population": self.population,
            "noise_secret": self.noise_is_secret,
            "caveats": self.caveats,
        }

    @property
    def caveats(self) -> list[str]:
        """What this experiment adds to what a guarantee never covers."""
        found = []
        if self.config.model["init"] is not None:
            found.append(f"the initial weights (model.init, sha256 {self.initial_weights[1]}), which count as public")
        if self.config.strategy.personal and self.config.privacy.mechanism == "central":
            found.append("the layers that stay with each client (strategy.personal), which only that client may see")
        return found

    def guarantee(self, entries: Sequence[ReleaseEntry]) -> Guarantee | None:
        """What a ledger of this experiment earns."""
        if self.config.privacy.mechanism == "none":
            return None
        return state_guarantee(
            entries,
            accounting=self.accounting,
            delta_rule=self.delta[1],
            population=self.population,
            noise_secret=self.noise_is_secret,
            caveats=self.caveats,
        )

    @property
    def _batches(self) -> PoissonBatches:
        return PoissonBatches(
            batch_size=self.config.training.batch_size, local_epochs=self.config.training.local_epochs
        )

    @cached_property
    def _rates(self) -> np.ndarray:
        return np.array([self._batches.rate(n) for n in self.data.client_sizes.tolist()])

    @cached_property
    def _steps(self) -> np.ndarray:
        return np.array([self._batches.steps(n) for n in self.data.client_sizes.tolist()], dtype=np.int64)

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

    def _hosted(self, app: App, streams: Streams) -> App:
        training = self.config.training
        return HostedApp(
            app=app,
            streams=streams,
            num_clients=self.data.num_clients,
            run_config={  # under the names of Flower's own examples
                "num-server-rounds": self.config.rounds,
                "local-epochs": training.local_epochs,
                "batch-size": training.batch_size,
                "learning-rate": training.lr,
            },
        )

    # -- the client's side ---------------------------------------------------------------------------------

    def client_app(self, mechanism: Mechanism, streams: Streams) -> App:
        """What a node or a worker process runs."""
        torch.set_num_threads(self.tuning.threads)
        if self.client_app_is_own:
            return self._hosted(load_client_app(self.config), streams)
        node = self._node(mechanism, streams)
        if not self.is_stock:
            plain: App = make_client_app(node)
            return plain
        private = self.config.privacy.mechanism == "example"
        return self._hosted(make_stock_client_app(node, private=private, mods=make_mods(self.config)), streams)

    def client_app_elsewhere(self) -> App:
        """The same where the server runs elsewhere: noise multipliers come with its messages, and only so."""
        streams, unknown = self.streams(None), np.full(self.data.num_clients, np.nan)
        return self.client_app(self.mechanism(unknown, streams), streams)

    def _node(self, mechanism: Mechanism, streams: Streams) -> Node:
        model = self.new_model()
        layout = self.layout(model)
        rule = local_rule(model, self.config)
        return Node(
            data=self.data,
            model=model,
            layout=layout,
            trainer=self._trainer(model, layout, rule),
            rule=rule,
            # a stock strategy weighs by itself
            weights=np.ones(self.data.num_clients) if self.is_stock else self.client_weights,
            task=self.task,
            mechanism=mechanism,
            streams=streams,
            dropout=self.config.federation.dropout,
            device=self.device,
        )

    def _local_function(self) -> Callable[..., Any]:
        spec = self.config.training.function
        if not isinstance(spec, dict):
            raise ConfigError(f"training.function={spec} must be {{_target_: NAME, ARGUMENT: VALUE}}, or null.")
        return partial_target(spec, expected=object, where="training.function", positional=2)

    def _trainer(self, model: nn.Module, layout: ParameterLayout, rule: LocalRule) -> LocalTrainer:
        training = self.config.training
        if training.function is not None:
            return FunctionTrainer(
                model=model,
                layout=layout,
                function=self._local_function(),
                batch_size=training.batch_size,
                rule=rule,
                device=self.device,
            )
        shared: dict[str, Any] = {
            "model": model,
            "layout": layout,
            "task": self.task,
            "make_optimizer": local_optimizer(self.config),
            "proximal_mu": training.proximal_mu,
            "rule": rule,
            "device": self.device,
        }
        if self.tuning.engine == "opacus":
            from fedpriv.training.opacus_trainer import OpacusTrainer

            max_grad_norm = _given(self.config.privacy.max_grad_norm)
            return OpacusTrainer(batches=self._batches, max_grad_norm=max_grad_norm, **shared)
        return SgdTrainer(batch_size=training.batch_size, local_epochs=training.local_epochs, **shared)


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


def _given(value: float | None) -> float:
    if value is None:
        raise ConfigError("A norm that this mechanism needs is missing.")
    return value
