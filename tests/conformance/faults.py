"""Right mechanisms, strategies and mods, and faults planted in them: each differs from the right one in one thing."""

import hashlib
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg

from fedpriv.accounting.sampling import CohortSampling
from fedpriv.conformance.client_level import ClientLevelSubject
from fedpriv.conformance.example_level import ExampleLevelSubject
from fedpriv.privacy import ClippingGrid, PoissonBatches, make_sampler
from fedpriv.privacy.mechanisms import CentralGaussian, ExampleGaussian
from fedpriv.privacy.sampling import FixedSizeSampler, PoissonSampler
from fedpriv.streams import Streams

# -- our own mechanisms, in the real federation ------------------------------------------------------------

POISSON = CohortSampling(kind="poisson", population=40, cohort=10, separation=1, cap=0)
_SAID = 9  # what a client of an ordinary round says that it trained on: FederatedAveraging's weight


def central(mechanism=CentralGaussian, *, sampler=None):
    """A client-level subject; ``sampler`` draws something else than the law that is accounted."""

    def make(streams, sampler):
        grid = ClippingGrid(clipping_norm=1.0, summands=POISSON.population)
        return mechanism(grid=grid, sampler=sampler, noise_multiplier=1.0, streams=streams)

    def make_its_sampler(streams):
        clients = np.arange(POISSON.population)
        if sampler is not None:
            return sampler(law=POISSON, clients=clients, streams=streams)
        return make_sampler(POISSON, clients=clients, streams=streams)

    return ClientLevelSubject(
        name=mechanism.__name__, make=make, make_sampler=make_its_sampler, population=POISSON.population
    )


def example(mechanism=ExampleGaussian, *, engine="vectorized"):
    batches = PoissonBatches(batch_size=8, local_epochs=1)

    def make(streams, sampler):
        return mechanism(
            max_grad_norm=1.0,
            rates=np.full(POISSON.population, batches.rate(32)),
            steps=np.full(POISSON.population, batches.steps(32)),
            noise_multipliers=np.full(POISSON.population, 1.0),
        )

    return ExampleLevelSubject(
        name=mechanism.__name__,
        make=make,
        make_sampler=lambda streams: make_sampler(POISSON, clients=np.arange(POISSON.population), streams=streams),
        population=POISSON.population,
        batches=batches,
        num_examples=32,
        engine=engine,
    )


class _Tampered(CentralGaussian):
    """Something happens to the noise between the mechanism and the release."""

    def decode(self, gathered):
        noisy = super().decode(gathered)
        exact = self.grid.decode(gathered.total) / self.sampler.law.cohort
        return exact + self.tampered(noisy - exact, gathered.total, gathered.weight)

    def tampered(self, noise, total, total_weight):
        raise NotImplementedError


class NoiseHalved(_Tampered):
    def tampered(self, noise, total, total_weight):
        return noise / 2


class NoiseOnHalfOfTheParameters(_Tampered):
    def tampered(self, noise, total, total_weight):
        return torch.where(torch.arange(len(noise)) < len(noise) // 2, noise, 0.0)


class NoiseOnlyWhereSomethingMoved(_Tampered):
    def tampered(self, noise, total, total_weight):
        return torch.where(total != 0, noise, 0.0)


class NoNoiseWhereNobodyCame(_Tampered):
    def tampered(self, noise, total, total_weight):
        return noise if total_weight else noise * 0


class NoiseRepeatedInEveryLayer(_Tampered):
    def tampered(self, noise, total, total_weight):
        return noise[:100].repeat(len(noise) // 100 + 1)[: len(noise)]


class LaplaceClaimedGaussian(_Tampered):
    def tampered(self, noise, total, total_weight):
        rng = np.random.default_rng(int(torch.abs(noise[0]) * 1e12))
        return torch.from_numpy(rng.laplace(scale=self.noise_std / 10 / math.sqrt(2), size=len(noise)))


class SameNoiseEveryRound(CentralGaussian):
    def decode(self, gathered):
        return super().decode(replace(gathered, round_number=1))


class SameNoiseWhenResumed(CentralGaussian):
    def decode(self, gathered):
        return super().decode(replace(gathered, attempt=0))


class SeedOf32Bits(CentralGaussian):
    def decode(self, gathered):
        key = int.from_bytes(self.streams.keys["noise"][:8], "little")
        rng = np.random.default_rng((key + gathered.round_number) % 2**32)
        noise = torch.from_numpy(rng.normal(scale=self.noise_std, size=len(gathered.total)))
        return (self.grid.decode(gathered.total) + noise) / self.sampler.law.cohort


class WeightByExamples(CentralGaussian):
    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        return replace(encoded, values=(encoded.values * senders.weights[:, None] / _SAID).long())


class DenominatorByArrivals(CentralGaussian):
    def decode(self, gathered):
        mean = super().decode(gathered)
        return mean * self.sampler.law.cohort / torch.tensor(gathered.weight / _SAID)


class SensitivityTwice(CentralGaussian):
    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        return replace(encoded, values=encoded.values * 2)


class InfinityPasses(CentralGaussian):
    def encode(self, update, *, senders):
        encoded = super().encode(update, senders=senders)
        wild = torch.where(torch.isfinite(update), 0, 10**6 * int(1 / self.grid.step))
        finite = torch.isfinite(update).all(dim=-1, keepdim=True)
        return replace(encoded, values=torch.where(finite, encoded.values, wild))


class EveryClientInTurn(PoissonSampler):
    """As often as Poisson, but never by a coin: round robin."""

    def cohort(self, round_number):
        size = int(self.law.cohort)
        return np.sort((np.arange(size) + size * round_number) % self.law.population)


class SameCohortTwice(PoissonSampler):
    def cohort(self, round_number):
        return super().cohort(round_number // 2)


class CoinsInPairs(PoissonSampler):
    """Two neighbours share a coin."""

    def cohort(self, round_number):
        coins = self.streams.rng("cohort", round_number).random(len(self.clients) // 2) < self.law.rate
        return self.clients[np.repeat(coins, 2)]


class HalvedAtTheClients(ExampleGaussian):
    def local_noise_multipliers(self, cohort):
        return super().local_noise_multipliers(cohort) / 2


class ClientRateTimesExampleRate(ExampleGaussian):
    """Charges every client in every round for each step, at the rate q_client x q_example."""

    def entry(self, *, round_number, attempt, cohort):
        amplified = {f.name: getattr(self, f.name) for f in fields(self)} | {"rates": self.rates * POISSON.rate}
        everybody = np.arange(POISSON.population)
        return ExampleGaussian(**amplified).entry(round_number=round_number, attempt=attempt, cohort=everybody)


class NoEntryForHalfTheRounds(ExampleGaussian):
    def entry(self, *, round_number, attempt, cohort):
        entry = super().entry(round_number=round_number, attempt=attempt, cohort=cohort)
        return entry if round_number % 2 else None


def shared_between_clients(streams: Streams, purpose: str, *indices: int, **device: Any) -> torch.Generator:
    """``Streams.torch_generator`` that forgets the client of (round, client, attempt)."""
    generator = torch.Generator()
    round_number, _, attempt = indices
    generator.set_state(streams.torch_state(purpose, round_number, attempt))
    return generator


def of_32_bits(streams: Streams, purpose: str, *indices: int, **device: Any) -> torch.Generator:
    """``Streams.torch_generator`` from one integer, of which the CPU's generator keeps the low 32 bits."""
    round_number, client, attempt = indices
    key = int.from_bytes(streams.keys[purpose][:3], "little")
    return torch.Generator().manual_seed(key + (attempt << 24) + round_number + (client << 32))


# -- a strategy of one's own -------------------------------------------------------------------------------


class Central(FedAvg):
    """Central DP as it should be (McMahan et al. 2018), in Flower's dialect: the right one.

    Clips each client's whole update, sums, adds Gaussian noise, divides by the public cohort. What is not finite counts
    as zero; integers stay as they are.
    """

    def __init__(self, noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=10, seed=0):
        super().__init__(min_train_nodes=0, min_available_nodes=0)
        self.noise_multiplier, self.clipping_norm = noise_multiplier, clipping_norm
        self.num_sampled_clients, self.seed = num_sampled_clients, seed

    def configure_train(self, server_round, arrays, config, grid):
        self.current = {name: array.numpy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        updates = [self.finite(self.update(reply)) for reply in replies]
        total = {name: np.zeros(np.shape(value)) for name, value in self.real.items()}
        for reply, update in zip(replies, updates, strict=True):
            for name, value in self.clip(update).items():
                total[name] = total[name] + value * self.weight(reply)
        scale = self.noise_multiplier * self.norm_of_noise(updates)
        self.adapt(updates, server_round)
        moved = dict(self.current)
        for i, name in enumerate(self.real):
            noise = self.noise(self.rng(server_round, i), scale, total[name].shape)
            moved[name] = self.current[name] + (total[name] + noise) / self.divisor(replies)
        moved |= self.integers(replies)
        arrays = {name: Array(np.asarray(moved[name], dtype=self.current[name].dtype)) for name in self.current}
        return ArrayRecord(arrays), MetricRecord()

    @property
    def real(self):
        return {name: value for name, value in self.current.items() if value.dtype.kind == "f"}

    def update(self, reply: Message):
        ((_, record),) = reply.content.array_records.items()
        return {name: record[name].numpy().astype(np.float64) - start for name, start in self.real.items()}

    def finite(self, update):
        fine = all(np.isfinite(value).all() for value in update.values())
        return update if fine else {name: np.zeros(value.shape) for name, value in update.items()}

    def clip(self, update):
        norm = norm_of(update.values())
        factor = min(1.0, self.clipping_norm / norm) if norm else 1.0
        return {name: value * factor for name, value in update.items()}

    def weight(self, reply):
        return 1.0

    def norm_of_noise(self, updates):
        return self.clipping_norm

    def noise(self, rng, scale, shape):
        return rng.normal(scale=scale, size=shape)

    def rng(self, server_round, part):
        return np.random.default_rng([self.seed, server_round, part])

    def divisor(self, replies):
        return self.num_sampled_clients

    def adapt(self, updates, server_round):
        pass

    def integers(self, replies):
        return {}


def norm_of(arrays):
    return math.sqrt(sum(float(np.vdot(value, value)) for value in arrays))


class Adaptive(Central):
    """Adaptive clipping as it should be (Andrew et al. 2021, Algorithm 1): the right one.

    The noise is for the norm that clipped, and the norm follows the share of updates below it.
    """

    sign = -1

    def __init__(self, noise_multiplier=1.0, clipping_norm=1.0, num_sampled_clients=10, seed=0):
        super().__init__(1.0, clipping_norm, num_sampled_clients, seed)
        self.target_quantile, self.count_std = 0.5, 1.0
        self.noise_multiplier = (noise_multiplier**-2 - (2 * self.count_std) ** -2) ** -0.5

    def adapt(self, updates, server_round):
        below = sum(norm_of(update.values()) <= self.clipping_norm for update in updates)
        noisy = below + self.rng(server_round, 2**20).normal(scale=self.count_std)
        self.clipping_norm *= math.exp(self.sign * 0.2 * (noisy / self.num_sampled_clients - self.target_quantile))


class WrongSign(Adaptive):
    sign = 1


class NoiseForTheUpdatedNorm(Adaptive):
    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        before = self.clipping_norm
        self.adapt([self.finite(self.update(reply)) for reply in replies], server_round)
        self.updated, self.clipping_norm = self.clipping_norm, before
        return super().aggregate_train(server_round, replies)

    def norm_of_noise(self, updates):
        return self.updated


class HalvedInFlower(Central):
    def noise(self, rng, scale, shape):
        return super().noise(rng, scale / 2, shape)


class LaplaceInFlower(Central):
    def noise(self, rng, scale, shape):
        return rng.laplace(scale=scale / math.sqrt(2), size=shape)


class BiasWithoutNoise(Central):
    def noise(self, rng, scale, shape):
        return super().noise(rng, scale if shape != (100,) else 0.0, shape)


class SameCoinsEveryRound(Central):
    def rng(self, server_round, part):
        return super().rng(1, part)


class SameCoinsEveryLayer(Central):
    def rng(self, server_round, part):
        return super().rng(server_round, 0)


class RoundPlusSeed(Central):
    def rng(self, server_round, part):
        return np.random.default_rng([self.seed + server_round, part])


class SeedModulo32Bits(Central):
    def rng(self, server_round, part):
        return np.random.default_rng([self.seed % 2**32, server_round, part])


class SameSeedInEveryRun(Central):
    def rng(self, server_round, part):
        return np.random.default_rng([server_round, part])


class WeighsByExamples(Central):
    def weight(self, reply):
        return reply.content["metrics"]["num-examples"] / _SAID


class DividesByArrivals(Central):
    def divisor(self, replies):
        return max(1, len(replies))


class DividesByArrivalsEvenNone(Central):
    def divisor(self, replies):
        return np.float64(len(replies))


class NothingWhereNobodyCame(Central):
    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        return super().aggregate_train(server_round, replies) if replies else (None, None)


class ScalarsUnclipped(Central):
    def clip(self, update):
        clipped = super().clip(update)
        return {name: value if value.ndim == 0 else clipped[name] for name, value in update.items()}


class ClippedByLayer(Central):
    def clip(self, update):
        return {name: super(ClippedByLayer, self).clip({name: value})[name] for name, value in update.items()}


class ZeroDivision(Central):
    def clip(self, update):
        factor = min(1, self.clipping_norm / norm_of(update.values()))
        return {name: value * factor for name, value in update.items()}


class NotANumberPasses(Central):
    def finite(self, update):
        return update


class CountersAveraged(Central):
    def integers(self, replies):
        counters = {name for name, value in self.current.items() if value.dtype.kind == "i"}
        return {
            name: np.mean([next(iter(r.content.array_records.values()))[name].numpy() for r in replies], axis=0)
            for name in counters
        }


# -- a mod of one's own ------------------------------------------------------------------------------------


class Local:
    """Local DP as it should be: clips the whole update, adds noise that no other client or round has. The right one."""

    def __init__(self, clipping_norm=1.0, noise_multiplier=2.0, seed=0):
        self.clipping_norm, self.noise_multiplier, self.seed = clipping_norm, noise_multiplier, seed

    def __call__(self, msg, context, call_next):
        ((_, record),) = msg.content.array_records.items()
        start = {name: array.numpy() for name, array in record.items()}
        number = next(iter(msg.content.config_records.values()))["server-round"]
        reply = call_next(msg, context)
        ((key, trained),) = reply.content.array_records.items()
        real = {name: value for name, value in start.items() if value.dtype.kind == "f"}
        update = {name: trained[name].numpy().astype(np.float64) - value for name, value in real.items()}
        if not all(np.isfinite(value).all() for value in update.values()):
            update = self.not_finite(update)
        sent = dict(start)
        for i, (name, value) in enumerate(self.clip(update).items()):
            rng = np.random.default_rng(self.key(number, context.node_config["partition-id"], i))
            noise = rng.normal(scale=self.noise_multiplier * self.clipping_norm, size=value.shape)
            sent[name] = start[name] + value + self.tampered(noise)
        reply.content[key] = ArrayRecord(
            {name: Array(np.asarray(value, dtype=start[name].dtype)) for name, value in sent.items()}
        )
        return reply

    def not_finite(self, update):
        return {name: np.zeros(value.shape) for name, value in update.items()}

    def clip(self, update):
        norm = norm_of(update.values())
        factor = min(1.0, self.clipping_norm / norm) if norm else 1.0
        return {name: value * factor for name, value in update.items()}

    def key(self, number, client, part):
        # not the integers themselves: numpy's SeedSequence takes [s, 0] for [s], and pairs may meet
        words = f"{self.seed} {number} {client} {part}".encode()
        return int.from_bytes(hashlib.sha256(words).digest(), "little")

    def tampered(self, noise):
        return noise


class LocalHalved(Local):
    def tampered(self, noise):
        return noise / 2


class LocalSharedByClients(Local):
    def key(self, number, client, part):
        return super().key(number, 0, part)


class LocalSharedByRounds(Local):
    def key(self, number, client, part):
        return super().key(0, client, part)


class LocalFixedSeed(Local):
    def key(self, number, client, part):
        return number + 1000 * client + 10**6 * part


class LocalNotANumber(Local):
    def not_finite(self, update):
        return update


class LocalByLayer(Local):
    def clip(self, update):
        return {name: super(LocalByLayer, self).clip({name: value})[name] for name, value in update.items()}


class LocalWithBudget(Local):
    """Promises an (epsilon, delta) for all that a client sends, and stops when it is spent. The right one.

    noise of 12 times the sensitivity under replace-one is epsilon 0.9258 for ten releases at delta 1e-5.
    """

    releases = 10

    def __init__(self, seed=0):
        super().__init__(clipping_norm=1.0, noise_multiplier=24.0, seed=seed)
        self.epsilon, self.delta = 1.0, 1e-5

    def __call__(self, msg, context, call_next):
        from flwr.app import ConfigRecord, Error

        spent = context.state.setdefault("spent", ConfigRecord({"releases": 0}))
        if spent["releases"] == self.releases:
            return Message(Error(1000, "the budget is spent"), reply_to=msg)
        spent["releases"] += 1
        return super().__call__(msg, context, call_next)


class LocalWithoutEnd(LocalWithBudget):
    """Noise for one release, and no end of them."""

    releases = math.inf

    def __init__(self, seed=0):
        super().__init__(seed)
        self.noise_multiplier = 8.0


class LocalTooCheap(LocalWithBudget):
    """Less noise than one release needs."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.noise_multiplier = 4.0


# -- which property is to name which fault -----------------------------------------------------------------

MECHANISM_FAULTS = {
    NoiseHalved: "noise_std",
    NoiseOnHalfOfTheParameters: "noise_std",
    NoiseOnlyWhereSomethingMoved: "zero_update",
    NoNoiseWhereNobodyCame: "empty_cohort",
    NoiseRepeatedInEveryLayer: "noise_independent_coordinates",
    LaplaceClaimedGaussian: "noise_law",
    SameNoiseEveryRound: "noise_independent_rounds",
    SameNoiseWhenResumed: "ledger",
    SeedOf32Bits: "seeds",
    WeightByExamples: "weighting",
    DenominatorByArrivals: "denominator",
    SensitivityTwice: "sensitivity_add_remove",
    InfinityPasses: "nan_update",
}
SAMPLING_FAULTS = (FixedSizeSampler, EveryClientInTurn, SameCohortTwice, CoinsInPairs)
EXAMPLE_FAULTS = {
    HalvedAtTheClients: "noise_std",
    ClientRateTimesExampleRate: "event",
    NoEntryForHalfTheRounds: "event",
}
STRATEGY_FAULTS = {
    HalvedInFlower: "noise_std",
    LaplaceInFlower: "noise_law",
    BiasWithoutNoise: "noise_std",
    SameCoinsEveryRound: "noise_independent_rounds",
    SameCoinsEveryLayer: "noise_independent_coordinates",
    RoundPlusSeed: "seeds",
    SeedModulo32Bits: "seeds",
    SameSeedInEveryRun: "noise_std",
    WeighsByExamples: "weighting",
    DividesByArrivals: "denominator",
    DividesByArrivalsEvenNone: "empty_cohort",
    NothingWhereNobodyCame: "empty_cohort",
    ScalarsUnclipped: "scalar_parameters",
    ClippedByLayer: "sensitivity_zero_out",
    ZeroDivision: "zero_update",
    NotANumberPasses: "nan_update",
    CountersAveraged: "integer_parameters",
    WrongSign: "adaptive_clip",
    NoiseForTheUpdatedNorm: "adaptive_noise",
}
MOD_FAULTS = {
    LocalHalved: "noise_std",
    LocalSharedByClients: "noise_independent_clients",
    LocalSharedByRounds: "noise_independent_rounds",
    LocalFixedSeed: "seeds",
    LocalNotANumber: "nan_update",
    LocalByLayer: "sensitivity_replace",
    LocalTooCheap: "promised_epsilon",
    LocalWithoutEnd: "composition",
}
