"""From a config to objects: data, model, sampler, mechanism, accounting. The last layer that sees a config."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import nn

from fedpriv import __version__
from fedpriv.config import Config, run_id
from fedpriv.data import Dataset, FederatedData, federate
from fedpriv.errors import ConfigError
from fedpriv.federation import ClientApp, Node, make_client_app
from fedpriv.models import ParameterLayout
from fedpriv.own_code import own_code
from fedpriv.privacy import (
    AllClients,
    ClippingGrid,
    CohortSampler,
    FixedSizeSampler,
    Mechanism,
    PoissonBatches,
    PoissonSampler,
    ReleaseEntry,
)
from fedpriv.privacy.calibration import calibrate, calibrate_clients
from fedpriv.privacy.guarantee import Guarantee, state_guarantee
from fedpriv.privacy.mechanisms import CentralGaussian, ExampleGaussian, NoPrivacy
from fedpriv.privacy.plan import Accounting
from fedpriv.privacy.sampled_gaussian import check_accountable
from fedpriv.privacy.sampling import participations
from fedpriv.streams import Streams, seed_key
from fedpriv.targets import build, partial_target
from fedpriv.training import (
    Classification,
    LocalTrainer,
    SgdTrainer,
    Task,
    Tuning,
    check_model,
    choose_tuning,
    fix_model,
)

# Purposes of the streams, by the seed that keys them.
_PURPOSES = {
    "data": ("split", "partition"),
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
        check_model(
            self.new_model(),
            example_level=self.config.privacy.mechanism == "example",
            input_shape=self.data.input_shape,
            num_classes=self.data.num_classes,
        )
        _check_optimizer(local_optimizer(self.config), "training.optimizer")
        _check_optimizer(self.server_optimizer, "strategy.optimizer")
        sampler = self.sampler(self.streams(None))
        if self.config.privacy.mechanism != "none":
            check_accountable(
                sampling=self._accounted_sampling(sampler),
                relation=self.accounting.relation,
                accountant=self.accounting.accountant,
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
        optimizers = (config.training.optimizer, config.strategy.optimizer)
        return own_code((config.data, config.partition, config.model, *optimizers))

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

    @property
    def task(self) -> Task:
        return Classification()

    @property
    def device(self) -> torch.device:
        return torch.device(self.config.device)

    def new_model(self) -> nn.Module:
        """The model with its initial weights, a function of the model seed."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.streams(None).torch_state("model"))
            model = build(
                self.config.model,
                expected=nn.Module,
                where="model",
                input_shape=self.data.input_shape,
                num_classes=self.data.num_classes,
            )
            return (fix_model(model) if self.config.fix_model else model).to(self.device)

    def server_optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        make = partial_target(
            self.config.strategy.optimizer,
            expected=torch.optim.Optimizer,
            where="strategy.optimizer",
            positional=1,
        )
        return _optimizer(make, parameters, "strategy.optimizer")

    def sampler(self, streams: Streams) -> CohortSampler:
        """Who takes part, of the kind asked for or, with ``auto``, of the kind that the mechanism needs."""
        clients = self.data.population_ids
        cohort = len(clients) if self.config.sampling.cohort is None else self.config.sampling.cohort
        kind = self.config.sampling.kind
        if cohort > len(clients):
            raise ConfigError(
                f"sampling.cohort={cohort:g} exceeds the population of {len(clients)} clients; use a smaller cohort "
                "or more clients (partition.num_clients)."
            )
        if kind == "all" and cohort != len(clients):
            raise ConfigError(
                f"sampling=all takes all {len(clients)} clients, but sampling.cohort={cohort:g}; drop the cohort or "
                "use sampling=poisson or fixed_size."
            )
        if kind == "auto":
            sampled = "poisson" if self.config.privacy.mechanism == "central" else "fixed_size"
            kind = sampled if cohort < len(clients) else "all"
        if kind == "all":
            return AllClients(clients=clients)
        if kind == "poisson":
            return PoissonSampler(clients=clients, rate=cohort / len(clients), streams=streams)
        if cohort != int(cohort):
            raise ConfigError(f"sampling=fixed_size needs a whole sampling.cohort, not {cohort}.")
        return FixedSizeSampler(clients=clients, size=int(cohort), streams=streams)

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
        }

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

    # -- the client's side ---------------------------------------------------------------------------------

    def client_app(self, mechanism: Mechanism, streams: Streams) -> ClientApp:
        """What a node or a worker process runs."""
        torch.set_num_threads(self.tuning.threads)
        model = self.new_model()
        layout = ParameterLayout.of(model)
        return make_client_app(
            Node(
                data=self.data,
                model=model,
                layout=layout,
                trainer=self._trainer(model, layout),
                task=self.task,
                mechanism=mechanism,
                streams=streams,
                dropout=self.config.federation.dropout,
                device=self.device,
            )
        )

    def _trainer(self, model: nn.Module, layout: ParameterLayout) -> LocalTrainer:
        training = self.config.training
        shared: dict[str, Any] = {
            "model": model,
            "layout": layout,
            "task": self.task,
            "make_optimizer": local_optimizer(self.config),
            "proximal_mu": training.proximal_mu,
            "device": self.device,
        }
        if self.tuning.engine == "opacus":
            from fedpriv.training.opacus_trainer import OpacusTrainer

            max_grad_norm = _given(self.config.privacy.max_grad_norm)
            return OpacusTrainer(batches=self._batches, max_grad_norm=max_grad_norm, **shared)
        return SgdTrainer(batch_size=training.batch_size, local_epochs=training.local_epochs, **shared)


def load_data(config: Config) -> FederatedData:
    """Load and divide the data, a function of the data seed."""
    seed = config.seed if config.seeds.data is None else config.seeds.data
    streams = Streams(keys=dict.fromkeys(_PURPOSES["data"], seed_key(seed)))
    dataset = build(config.data, expected=Dataset, where="data", rng=streams.rng("split"))
    assignment = build(
        config.partition,
        expected=np.ndarray,
        where="partition",
        labels=dataset.train.y,
        users=dataset.users,
        num_classes=dataset.num_classes,
        rng=streams.rng("partition"),
    )
    return federate(
        dataset,
        assignment,
        num_clients=config.partition.get("num_clients"),
        min_examples=config.partition.get("min_examples", 0),
    )


def local_optimizer(config: Config) -> Any:
    """A function of parameters: the clients' optimizer."""
    make = partial_target(
        config.training.optimizer,
        expected=torch.optim.Optimizer,
        where="training.optimizer",
        positional=1,
        lr=config.training.lr,
    )
    return partial(_optimizer, make, where="training.optimizer")


def _optimizer(make: Any, parameters: Any, where: str) -> torch.optim.Optimizer:
    try:
        optimizer: torch.optim.Optimizer = make(parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}.") from error
    return optimizer


def _check_optimizer(make: Any, where: str) -> None:
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
