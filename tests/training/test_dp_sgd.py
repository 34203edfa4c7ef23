"""DP-SGD as it runs, on either engine: sensitivity, noise, sampling, independence, measured at the optimizer."""

import itertools
import math
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from fedpriv.models import ParameterLayout
from fedpriv.privacy import PoissonBatches
from fedpriv.streams import Streams
from fedpriv.training import Classification, ClientWork, DpSgd, Formulation, VectorizedTrainer
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule

CPU = torch.device("cpu")


class Spy(torch.optim.SGD):
    """Plain SGD that keeps every gradient it was given, flat."""

    def __init__(self, parameters, *, lr, seen):
        super().__init__(parameters, lr=lr)
        self.seen = seen

    def step(self, closure=None):
        gradients = [p.grad.reshape(-1) for group in self.param_groups for p in group["params"]]
        self.seen.append(torch.cat(gradients).double().numpy())
        return super().step(closure)


class Everything(PoissonBatches):
    def plan(self, coins, num_examples):
        return iter([np.arange(num_examples)] * self.steps(num_examples))


class Nothing(PoissonBatches):
    def plan(self, coins, num_examples):
        return iter([np.zeros(0, dtype=np.int64)] * self.steps(num_examples))


class SumOfOutputs:
    """A loss that is linear in the parameters of a linear model: gradients don't depend on earlier noise."""

    def losses(self, outputs, targets):
        return outputs.sum(dim=1)

    def loss_sum(self, outputs, targets):
        return outputs.sum()


@pytest.fixture(params=["opacus", "vectorized"])
def engine(request):
    return request.param


@dataclass
class Bench:
    """A trainer of one client after another, and what its optimizer saw."""

    engine: str
    streams: Streams
    model: nn.Module
    batches: PoissonBatches
    max_grad_norm: float = 1.0
    proximal_mu: float = 0.0
    task: object = Classification(num_classes=3)
    lr: float = 0.1
    rule: object = PlainRule()
    broadcast: dict = field(default_factory=dict)

    def __post_init__(self):
        self.seen = []
        self.layout = ParameterLayout.of(self.model)
        self.start = self.layout.from_module(self.model)
        shared = {
            "model": self.model,
            "layout": self.layout,
            "task": self.task,
            "make_optimizer": partial(Spy, lr=self.lr, seen=self.seen),
            "batches": self.batches,
            "proximal_mu": self.proximal_mu,
            "rule": self.rule,
            "device": CPU,
        }
        if self.engine == "opacus":
            self.trainer = OpacusTrainer(max_grad_norm=self.max_grad_norm, layer_norms={}, **shared)
            return
        self.trainer = VectorizedTrainer(
            formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()),
            stack_size=1,
            unfolded=True,
            channels_last=False,
            private=DpSgd(max_grad_norm=self.max_grad_norm, layer_norms={}, expected_size=self.batches.expected_size),
            **shared,
        )

    def work(self, examples, *, noise_multiplier, round_number=1, client=0, attempt=0):
        return ClientWork(
            client_id=client,
            examples=examples if callable(examples) else lambda: examples,
            state={},
            broadcast=self.broadcast,
            noise_multiplier=noise_multiplier,
            batches=partial(self.streams.rng, "batches", round_number, client, attempt),
            noise=partial(self.streams.torch_generator, "noise", round_number, client, attempt),
            torch_state=partial(self.streams.torch_state, "training", round_number, client),
        )

    def train(self, *work):
        """Results by client, and per step what is noisy: the gradient times the expected batch, (steps, d)."""
        self.seen.clear()
        results = sorted(self.trainer.train(self.start, work), key=lambda result: result.client_id)
        return results, np.stack(self.seen) if self.seen else np.zeros((0, self.layout.size))

    def noisy_sums(self, examples, **position):
        [result], gradients = self.train(self.work(examples, **position))
        assert result.failure is None
        x, _ = examples
        return gradients * self.batches.expected_size(len(x))


def classes(n, *shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=generator) * scale, torch.arange(n) % 3


def linear(features=6, outputs=3):
    torch.manual_seed(0)
    return nn.Linear(features, outputs)


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def convolutional():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4 * 4, 3))


class WithScale(nn.Module):
    """A parameter of its own, a shared layer, a frozen one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.shared, self.last = nn.Linear(6, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.first.bias.requires_grad_(False)

    def forward(self, x):
        hidden = self.shared(self.shared(self.first(x)).relu())
        return self.last(hidden) * self.temperature


WIDE = 20_000  # coordinates of the noise that is judged


def wide_bench(engine, streams, **kwargs):
    """d = 20,000, and a gradient that is the same at every step whatever the noise."""
    torch.manual_seed(0)
    model = nn.Linear(WIDE, 1, bias=False)
    return Bench(engine=engine, streams=streams, model=model, task=SumOfOutputs(), **kwargs)


def added_noise(bench, examples, **position):
    """(steps, d): the noisy sums minus the same sums without noise."""
    noise_multiplier = position.pop("noise_multiplier", 0.8)
    noisy = bench.noisy_sums(examples, noise_multiplier=noise_multiplier, **position)
    return noisy - bench.noisy_sums(examples, noise_multiplier=0.0, **position)


def few_wide(n=4):
    return torch.randn(n, WIDE, generator=torch.Generator().manual_seed(1)), torch.zeros(n, dtype=torch.int64)


# -- sensitivity -------------------------------------------------------------------------------------------


def brute_force(model, x, y, norm):
    """Clipped per-example gradients, one autograd call each, (n, d) float64."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(len(x)):
        loss = Classification(num_classes=3).loss_sum(model(x[i : i + 1]), y[i : i + 1])
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)]).double()
        rows.append(gradient * min(1.0, norm / float(gradient.norm())))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("norm", [0.05, 1.0, 100.0])
@pytest.mark.parametrize(
    ("make", "shape"), [(linear, (6,)), (mlp, (6,)), (convolutional, (1, 6, 6)), (WithScale, (6,))]
)
def test_the_sum_is_that_of_clipped_per_example_gradients(engine, new_streams, make, shape, norm):
    x, y = classes(9, *shape, scale=3.0)
    expected = brute_force(make(), x, y, norm)
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=make(),
        batches=Everything(batch_size=9, local_epochs=1),
        max_grad_norm=norm,
    )
    [total] = bench.noisy_sums((x, y), noise_multiplier=0.0)
    assert np.allclose(total, expected.sum(axis=0), rtol=1e-4, atol=1e-5 * norm)
    assert (np.linalg.norm(expected, axis=1) <= norm * (1 + 1e-6)).all()


def odd_examples():
    ordinary = torch.linspace(-1, 1, 6)
    yield "ordinary", ordinary
    yield "huge", ordinary * 1e15
    yield "beyond squares", ordinary * 1e25
    yield "largest", torch.full((6,), torch.finfo(torch.float32).max)
    yield "infinite", torch.tensor([1.0, math.inf, 0, 0, 0, 0])
    yield "minus infinite", torch.full((6,), -math.inf)
    yield "nan", torch.tensor([math.nan, 1.0, 2.0, 3.0, 4.0, 1e30])
    yield "all nan", torch.full((6,), math.nan)
    yield "tiny", torch.full((6,), 1e-44)
    yield "zero", torch.zeros(6)


@pytest.mark.parametrize("make", [linear, mlp, WithScale])
@pytest.mark.parametrize("example", [x for _, x in odd_examples()], ids=[name for name, _ in odd_examples()])
def test_one_example_moves_the_sum_by_at_most_the_norm(engine, new_streams, make, example):
    """Add-or-remove-one, whatever is in the example."""
    norm = 0.7
    x, y = classes(8, 6)
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=make(),
        batches=Everything(batch_size=1, local_epochs=1),
        max_grad_norm=norm,
        lr=0.0,  # the same parameters at every step
    )
    without = bench.noisy_sums((x, y), noise_multiplier=0.0)
    for position in (0, 5, 8):
        with_x = torch.cat([x[:position], example[None], x[position:]])
        with_y = torch.cat([y[:position], y[:1], y[position:]])
        with_it = bench.noisy_sums((with_x, with_y), noise_multiplier=0.0)
        assert np.isfinite(with_it).all()
        moved = np.linalg.norm(with_it[0] - without[0])
        assert moved <= norm * (1 + 1e-5), moved


def test_a_bad_example_does_not_silence_the_others(engine, new_streams):
    x, y = classes(8, 6)
    bench = Bench(
        engine=engine, streams=new_streams(0), model=linear(), batches=Everything(batch_size=9, local_epochs=1)
    )
    [clean] = bench.noisy_sums((x, y), noise_multiplier=0.0)
    with_nan = torch.cat([x, torch.full((1, 6), math.nan)]), torch.cat([y, y[:1]])
    [dirty] = bench.noisy_sums(with_nan, noise_multiplier=0.0)
    assert np.allclose(clean, dirty, atol=1e-6)


class FoldsPositions(nn.Module):
    """Every position becomes a row of its own, and would be clipped by itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.first(x.flatten(0, 1)).relu()).unflatten(0, (len(x), -1)).mean(1)


def test_rows_that_are_no_examples_are_never_clipped_and_sent_by_opacus(new_streams):
    bench = Bench(
        engine="opacus",
        streams=new_streams(0),
        model=FoldsPositions(),
        batches=Everything(batch_size=4, local_epochs=1),
    )
    [result], gradients = bench.train(bench.work(classes(4, 5, 6), noise_multiplier=1.0))
    assert result.update is None
    assert "not one row for each of the 4 examples" in result.failure
    assert len(gradients) == 0


@pytest.mark.parametrize(("max_grad_norm", "share"), [(1e-3, 1.0), (1.5, 2 / 3), (2.5, 1 / 3), (1e6, 1 / 3)])
def test_the_share_of_clipped_examples_is_told(engine, new_streams, max_grad_norm, share):
    """Of 1,000 norms of each size; what is not finite is dropped, and counts as clipped."""
    norms = torch.tensor([1.0, 2.0, math.inf]).repeat(1000)
    x = norms[:, None] * torch.tensor([[0.6, 0.8]])
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=nn.Linear(2, 1, bias=False),
        batches=PoissonBatches(batch_size=600, local_epochs=2),
        max_grad_norm=max_grad_norm,
        task=SumOfOutputs(),
        lr=0.0,
    )
    [result], _ = bench.train(bench.work((x, torch.zeros(3000)), noise_multiplier=1.0))
    assert result.metrics["clipped_examples"] == pytest.approx(share, abs=0.05)


def test_without_examples_there_is_no_share_of_clipped_ones(engine, new_streams):
    bench = Bench(
        engine=engine, streams=new_streams(0), model=linear(), batches=Nothing(batch_size=2, local_epochs=1)
    )
    [result], _ = bench.train(bench.work(classes(4, 6), noise_multiplier=1.0))
    assert math.isnan(result.metrics["clipped_examples"])


def test_planted_fault_no_clipping_is_caught(engine, new_streams, monkeypatch):
    """The measurement above sees a sensitivity that is too large."""
    x, y = classes(8, 6)
    bench = Bench(
        engine=engine, streams=new_streams(0), model=linear(), batches=Everything(batch_size=9, local_epochs=1)
    )
    ordinary, huge = ((torch.cat([x, torch.full((1, 6), value)]), torch.cat([y, y[:1]])) for value in (1.0, 1e6))
    [before] = bench.noisy_sums(ordinary, noise_multiplier=0.0)

    def unclipped(optimizer):
        for p in optimizer.params:
            p.summed_grad = p.grad_sample.sum(0)

    def nothing_to_clip(model):
        return torch.zeros(1, 9)

    monkeypatch.setattr("opacus.optimizers.DPOptimizer.clip_and_accumulate", unclipped)
    monkeypatch.setattr("fedpriv.training.vectorized.model.StackedModel.square_norms", nothing_to_clip)
    [after] = bench.noisy_sums(huge, noise_multiplier=0.0)
    assert np.linalg.norm(after - before) > 100


# -- noise -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_multiplier", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("max_grad_norm", [0.1, 1.0, 5.0])
def test_noise_on_the_sum_is_multiplier_times_norm(engine, new_streams, judge, noise_multiplier, max_grad_norm):
    bench = wide_bench(
        engine, new_streams(0), batches=Everything(batch_size=4, local_epochs=1), max_grad_norm=max_grad_norm
    )
    noise = added_noise(bench, few_wide(), noise_multiplier=noise_multiplier)
    claimed = noise_multiplier * max_grad_norm
    assert noise.shape == (1, WIDE)
    assert judge.has_std(noise, claimed)
    assert judge.is_gaussian(noise, claimed)
    for wrong in (2 / 3, 0.95, 1.05, 3 / 2):
        assert not judge.has_std(noise, wrong * claimed)


@pytest.mark.parametrize("factor", [0.0, 0.5, 2 / 3, 3 / 2])
def test_planted_fault_wrong_noise_is_caught(engine, new_streams, judge, monkeypatch, factor):
    from opacus.optimizers import optimizer as opacus

    from fedpriv.training.vectorized import trainer as vectorized

    of_opacus, of_stack = opacus._generate_noise, vectorized.StackNoise

    def other_noise(clients, private, **kwargs):
        return of_stack(clients, replace(private, max_grad_norm=private.max_grad_norm * factor), **kwargs)

    monkeypatch.setattr(opacus, "_generate_noise", lambda std, **kwargs: of_opacus(std=std * factor, **kwargs))
    monkeypatch.setattr(vectorized, "StackNoise", other_noise)
    bench = wide_bench(engine, new_streams(0), batches=Everything(batch_size=4, local_epochs=1))
    assert not judge.has_std(added_noise(bench, few_wide()), 0.8)


def test_an_empty_batch_is_noise_alone(engine, new_streams, judge):
    bench = wide_bench(engine, new_streams(0), batches=Nothing(batch_size=2, local_epochs=1))
    noisy = bench.noisy_sums(few_wide(4), noise_multiplier=0.8)
    assert noisy.shape == (2, WIDE)
    for step in noisy:
        assert judge.has_std(step, 0.8)
        assert judge.is_gaussian(step, 0.8)
    assert not bench.noisy_sums(few_wide(4), noise_multiplier=0.0).any()


def test_noise_is_independent_across_clients_rounds_attempts_and_steps(engine, new_streams, judge):
    bench = wide_bench(engine, new_streams(0), batches=Everything(batch_size=2, local_epochs=1))
    examples = few_wide(4)  # two steps a participation
    noises = [
        step
        for r, k, a in itertools.product((1, 2, 1 + 2**32), (0, 1, 2**32), (0, 1))
        for step in added_noise(bench, examples, round_number=r, client=k, attempt=a)
    ]
    assert len(noises) == 36
    assert judge.are_independent(noises)


@pytest.mark.parametrize("forgotten", [0, 1, 2])
def test_planted_fault_shared_noise_is_caught(engine, new_streams, judge, monkeypatch, forgotten):
    """Streams that forget the round, the client or the attempt."""
    honest = Streams.torch_generator

    def forgetful(self, purpose, *position, **kwargs):
        kept = [index for i, index in enumerate(position) if i != forgotten]
        return honest(self, purpose, *kept, **kwargs)

    monkeypatch.setattr(Streams, "torch_generator", forgetful)
    bench = wide_bench(engine, new_streams(0), batches=Everything(batch_size=4, local_epochs=1))
    positions = itertools.product((1, 2), (3, 4), (5, 6))
    noises = [added_noise(bench, few_wide(), round_number=r, client=k, attempt=a)[0] for r, k, a in positions]
    assert not judge.are_independent(noises)


class Reseeding(nn.Module):
    """What the trap looks like: a model that makes the global generator the same for everybody."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(WIDE, 1, bias=False)

    def forward(self, x):
        torch.manual_seed(0)
        np.random.seed(0)
        return self.layer(x)


def test_a_model_that_reseeds_torch_does_not_share_noise(engine, new_streams, judge):
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=Reseeding(),
        batches=Everything(batch_size=2, local_epochs=1),
        task=SumOfOutputs(),
    )
    work = [bench.work(few_wide(4), noise_multiplier=0.8, client=k) for k in range(3)]
    quiet = [bench.work(few_wide(4), noise_multiplier=0.0, client=k) for k in range(3)]
    noises = (bench.train(*work)[1] - bench.train(*quiet)[1]) * 2
    assert noises.shape == (6, WIDE)
    assert judge.are_independent(noises)
    assert judge.has_std(noises, 0.8)


def test_noise_does_not_depend_on_the_data(engine, new_streams):
    bench = wide_bench(engine, new_streams(0), batches=Everything(batch_size=4, local_epochs=1))
    x, y = few_wide()
    assert np.allclose(added_noise(bench, (x, y)), added_noise(bench, (-3 * x, y)), atol=1e-5)


def test_the_divisor_is_the_expected_batch(engine, new_streams):
    """10 of 40 expected; whatever the coins say, one example adds the same to the step."""
    x = torch.eye(40)
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=nn.Linear(40, 1, bias=False),
        batches=PoissonBatches(batch_size=10, local_epochs=5),
        task=SumOfOutputs(),
    )
    [result], gradients = bench.train(bench.work((x, torch.zeros(40, dtype=torch.int64)), noise_multiplier=0.0))
    sizes = (gradients > 0).sum(axis=1)
    assert len(set(sizes)) > 3
    assert np.allclose(gradients[gradients > 0], 1 / 10, rtol=1e-5)
    assert result.metrics["examples"] == sizes.sum()


# -- sampling ----------------------------------------------------------------------------------------------


def one_hot_inclusion(engine, streams, *, examples, batch_size, rounds, epochs=1):
    """Who was in which batch, read from the gradients: (rounds, steps, examples)."""
    bench = Bench(
        engine=engine,
        streams=streams,
        model=nn.Linear(examples, 1, bias=False),
        batches=PoissonBatches(batch_size=batch_size, local_epochs=epochs),
        task=SumOfOutputs(),
        lr=0.0,
    )
    data = torch.eye(examples), torch.zeros(examples, dtype=torch.int64)
    work = [bench.work(data, noise_multiplier=0.0, round_number=r) for r in range(1, rounds + 1)]
    _, gradients = bench.train(*work)
    return (gradients > 0).reshape(rounds, -1, examples)


def test_batches_are_poisson_with_the_accounted_rate_and_steps(engine, new_streams):
    examples, batch_size, rounds, epochs = 50, 8, 100, 2
    batches = PoissonBatches(batch_size=batch_size, local_epochs=epochs)
    seen = one_hot_inclusion(
        engine, new_streams(0), examples=examples, batch_size=batch_size, rounds=rounds, epochs=epochs
    )
    assert seen.shape[1] == batches.steps(examples) == 14
    rate = batches.rate(examples)
    assert stats.binomtest(int(seen.sum()), seen.size, rate).pvalue > 1e-6
    for wrong in (0.9, 1.1):
        assert stats.binomtest(int(seen.sum()), seen.size, wrong * rate).pvalue < 1e-6
    flat = seen.reshape(-1, examples)
    assert all(stats.binomtest(int(k), len(flat), rate).pvalue > 1e-7 for k in flat.sum(axis=0))
    sizes = flat.sum(axis=1)
    assert np.var(sizes) == pytest.approx(examples * rate * (1 - rate), rel=0.15)
    standard = (flat - rate) / math.sqrt(rate * (1 - rate))
    for lag in (1, 2, 14):
        assert abs((standard[lag:] * standard[:-lag]).mean()) < 5 / math.sqrt(standard.size)


# -- the rest of the step ----------------------------------------------------------------------------------


def test_the_proximal_term_joins_after_the_noise(engine, new_streams):
    """Noise and clipping as without it; the difference is mu (w - w_global), and 0 at the first step."""
    examples = classes(12, 6)
    options = {
        "engine": engine,
        "streams": new_streams(0),
        "batches": Everything(batch_size=4, local_epochs=1),
        "max_grad_norm": 0.3,
    }
    plain, proximal = (Bench(model=linear(), proximal_mu=mu, **options) for mu in (0.0, 5.0))
    assert torch.equal(plain.start, proximal.start)
    _, without = plain.train(plain.work(examples, noise_multiplier=1.0))
    _, with_term = proximal.train(proximal.work(examples, noise_multiplier=1.0))
    assert np.array_equal(without[0], with_term[0])
    moved = -plain.lr * without[0]  # after one step both are at w_global + moved
    # what clipping and noise gave at the second step is the same, so only the term differs
    assert np.allclose(with_term[1] - without[1], 5.0 * moved, atol=1e-5)
    assert np.linalg.norm(5.0 * moved) > 0.05


def test_equal_work_gives_equal_bits_whoever_came_before(engine, new_streams):
    bench = Bench(
        engine=engine, streams=new_streams(0), model=mlp(), batches=PoissonBatches(batch_size=4, local_epochs=2)
    )
    work = [partial(bench.work, classes(20, 6, seed=k), noise_multiplier=1.0, client=k) for k in range(3)]
    together, _ = bench.train(*(make() for make in work))
    backwards, _ = bench.train(*(make() for make in reversed(work)))
    for one, two in zip(together, backwards, strict=True):
        assert torch.equal(one.update, two.update)


class Picky(nn.Module):
    """Raises between the forward hooks of its layers and the backward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        outputs = self.last(self.first(x).relu())
        if bool(torch.isnan(x).any()):
            raise ValueError("cannot bear NaN")
        return outputs


class BreaksBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("out of memory, say")


class FailsLate(nn.Module):
    """Raises in the middle of the backward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        hidden = self.first(x).relu()
        return self.last(BreaksBackward.apply(hidden) if bool(torch.isnan(x).any()) else hidden)


def unreadable():
    raise OSError("disk gone")


def all_nan():
    return torch.full((20, 6), math.nan), torch.zeros(20, dtype=torch.int64)


@pytest.mark.parametrize("make", [Picky, FailsLate])
@pytest.mark.parametrize("broken", [unreadable, all_nan])
def test_a_client_that_raises_fails_alone(engine, new_streams, make, broken):
    """The others' results are the same to the last bit, also where hooks were left half-way."""
    results = []
    for failing in (False, True):
        bench = Bench(
            engine=engine, streams=new_streams(0), model=make(), batches=PoissonBatches(batch_size=4, local_epochs=2)
        )
        data = {k: classes(20, 6, seed=k) for k in range(4)}
        work = [bench.work(broken if failing and k == 1 else data[k], noise_multiplier=1.0, client=k) for k in range(4)]
        results.append(bench.train(*work)[0])
    honest, disturbed = results
    assert [r.failure is None for r in disturbed] == [True, False, True, True]
    assert disturbed[1].update is None
    for k in (0, 2, 3):
        assert torch.equal(honest[k].update, disturbed[k].update)


def test_global_generators_are_left_alone(engine, new_streams):
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
        batches=PoissonBatches(batch_size=4, local_epochs=1),
    )
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    bench.train(bench.work(classes(20, 6), noise_multiplier=1.0))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


def test_dropout_layers_draw_from_the_clients_own_stream(engine, new_streams):
    """So that results depend on no earlier client, and not on the process's generator."""
    bench = Bench(
        engine=engine,
        streams=new_streams(0),
        model=nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.5), nn.Linear(64, 3)),
        batches=Everything(batch_size=20, local_epochs=1),
    )
    updates = []
    for seed, client in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(seed)
        [result], _ = bench.train(bench.work(classes(20, 6), noise_multiplier=0.0, client=client))
        updates.append(result.update)
    assert torch.equal(updates[0], updates[1])
    assert not torch.equal(updates[1], updates[2])


def test_a_client_without_examples_sends_a_zero_update(engine, new_streams):
    bench = Bench(
        engine=engine, streams=new_streams(0), model=linear(), batches=PoissonBatches(batch_size=4, local_epochs=1)
    )
    [result], gradients = bench.train(bench.work(classes(0, 6), noise_multiplier=math.nan))
    assert result.failure is None
    assert not result.update.any()
    assert len(gradients) == 0
