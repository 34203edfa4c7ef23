"""An example-level ``Mechanism`` as a subject: a real DP-SGD engine, on a model whose gradients are planted.

Sensitivity and noise are measured on one step that holds all examples of a client; which examples a step holds, on the
batches that a run would draw.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, final

import numpy as np
import torch
from torch import nn

from fedpriv.accounting.ledger import LAYER
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.accounting.sampling import CohortSampling
from fedpriv.models import ParameterLayout
from fedpriv.privacy import Mechanism, PoissonBatches
from fedpriv.training import DpSgd, Formulation, LocalTrainer, VectorizedTrainer
from fedpriv.training.opacus_trainer import OpacusTrainer
from fedpriv.training.rules import PlainRule

from .mechanism_subject import MakeMechanism, MakeSampler, MechanismSubject, Permit
from .scripted_federation import ScriptedFederation, clients_with, flatten, layout_of
from .subject import Claim, LocalSteps, Round

PrivateEngine = Literal["vectorized", "opacus"]

_TARGET = 0  # the client whose first example is watched
_FIRST = 2  # numbers that are a layer, where layers are clipped by themselves; all others are one
_STACK = 4  # clients side by side, where the engine has them so


@final
class ExampleLevelSubject(MechanismSubject):
    """DP-SGD at the clients; every client's message is seen.

    Args:
        batches: as a run would draw them.
        num_examples: of each client; public.
        engine: which one takes the steps.
    """

    unit = "example"

    def __init__(
        self,
        *,
        name: str,
        make: MakeMechanism,
        make_sampler: MakeSampler,
        population: int,
        batches: PoissonBatches,
        num_examples: int,
        engine: PrivateEngine,
    ) -> None:
        super().__init__(name=name, make=make, make_sampler=make_sampler, population=population)
        self._batches, self._num_examples, self._engine = batches, num_examples, engine
        self._whole = PoissonBatches(batch_size=num_examples, local_epochs=1)

    @cached_property
    def claim(self) -> Claim:
        entry, examples = self.entry, self._num_examples
        release = next(release for client, release, _ in entry.releases() if client == _TARGET)
        once = entry.sensitivity / examples
        return Claim(
            unit="example",
            sensitivity={"add_or_remove_one": once, "zero_out": once, "replace_one": 2 * once},
            noise_std=release.noise_multiplier * once,
            noise_law="gaussian" if entry.noise_law == "gaussian" else "laplace",
            noise_by="clients",
            cohort=examples,
            target_quantile=None,
            survivors=None,
        )

    @property
    def accounted_sampling(self) -> CohortSampling:
        """As the run states it; epsilon does not rest on it, since each client pays for each of its rounds."""
        return self.sampler.law

    def federation(
        self, start: Mapping[str, np.ndarray], *, seed: int, permit: Permit, round: int, attempt: int
    ) -> ScriptedFederation:
        return ScriptedFederation(
            mechanism=self.mechanism(seed),
            start=start,
            seed=seed,
            permit=permit,
            round=round,
            attempt=attempt,
            make_data=partial(self._data, layout_of(start)),
            make_trainer=lambda layout, round_: self._trainer(
                Planted(self._sizes(layout)), self._whole, layer_norms=self._layer_norms, seen=[]
            ),
            each=True,
        )

    def local_steps(self, *, rounds: int, seed: int) -> Sequence[LocalSteps]:
        """Without noise, so that a step shows whether it held the example; charged is what noise would be."""
        mechanism, seen = self.mechanism(seed), list[bool]()
        examples = np.zeros((self._num_examples, 2))
        examples[0, 0] = 1.0
        data = clients_with({_TARGET: examples}, population=self.population)
        start = {"weight": np.zeros((1, 2), dtype=np.float32)}
        trainer = self._trainer(nn.Linear(2, 1, bias=False), self._batches, layer_norms={}, seen=seen)
        federation = ScriptedFederation(
            mechanism=Silent(mechanism),
            start=start,
            seed=seed,
            permit=lambda entry: None,
            round=0,
            attempt=0,
            make_data=lambda round_: data,
            make_trainer=lambda layout, round_: trainer,
            each=False,
        )
        found = []
        for round_number in range(1, rounds + 1):
            cohort = self.cohort(round_number, seed=seed)
            entry = self.stated(round_number=round_number, attempt=0, cohort=cohort)
            charged: dict[SampledGaussian, int] = defaultdict(int)
            for client, release, steps in () if entry is None else entry.releases():
                if client == _TARGET and isinstance(release, SampledGaussian):
                    charged[release] += steps
            seen.clear()
            federation.round = round_number - 1
            if _TARGET in cohort:
                federation.play(Round(asked=(_TARGET,), reports=()))
            found.append(LocalSteps(included=np.array(seen, dtype=bool), charged=dict(charged)))
        return found

    def _data(self, layout: ParameterLayout, round_: Round) -> Any:
        """The reports as examples: what a step along ``update`` has as its gradient is minus it."""
        examples = {client: np.zeros((self._num_examples, layout.size)) for client in round_.asked or (_TARGET,)}
        rows = dict.fromkeys(examples, 0)
        for report in round_.reports:
            examples[report.client][rows[report.client]] = -flatten(layout, report.update).numpy()
            rows[report.client] += 1
        return clients_with(examples, population=self.population)

    def _sizes(self, layout: ParameterLayout) -> list[int]:
        """Of the planted layers: the tensors or, where layers have norms, the first numbers and the rest."""
        if self._layer_norms:
            return [_FIRST, layout.size - _FIRST]
        return [value.numel() for value in layout.unflatten(torch.zeros(layout.size)).values()]

    @property
    def _layer_norms(self) -> dict[str, float]:
        """Of the planted layers, as the ledger states them."""
        return {name.removeprefix(LAYER): norm for name, norm in self.entry.details if name.startswith(LAYER)}

    def _trainer(
        self, model: nn.Module, batches: PoissonBatches, *, layer_norms: Mapping[str, float], seen: list[bool]
    ) -> LocalTrainer:
        shared: dict[str, Any] = {
            "model": model,
            "layout": ParameterLayout.of(model),
            "task": InnerProduct(),
            "make_optimizer": partial(Watched, lr=1.0, seen=seen),
            "batches": batches,
            "proximal_mu": 0.0,
            "rule": PlainRule(),
            "device": torch.device("cpu"),
        }
        max_grad_norm = self.entry.sensitivity
        if self._engine == "opacus":
            return OpacusTrainer(max_grad_norm=max_grad_norm, layer_norms=layer_norms, **shared)
        return VectorizedTrainer(
            formulation=Formulation(whole=False, side_by_side=True, methods={}, wide=()),
            stack_size=_STACK,
            unfolded=True,
            channels_last=False,
            private=DpSgd(
                max_grad_norm=max_grad_norm, layer_norms=layer_norms, expected_size=batches.expected_size
            ),
            **shared,
        )


class Planted(nn.Module):
    """Linear layers side by side; on an example x the output is <parameters, x>, so the gradient is x itself.

    Args:
        sizes: numbers of each layer, in the order of ``x``.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.parts = nn.ModuleList(nn.Linear(size, 1, bias=False) for size in self.sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = zip(self.parts, x.split(self.sizes, dim=1), strict=True)
        return torch.cat([part(values) for part, values in parts], dim=1)


@dataclass(frozen=True, kw_only=True)
class InnerProduct:
    """The planted model's loss is its output."""

    headline: str = "loss"
    higher_is_better: bool = False
    output_shape: tuple[int, ...] = ()

    def loss_sum(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(outputs, targets).sum()

    def losses(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.reshape(len(outputs), -1).sum(dim=1)

    def metrics(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {}

    def baseline(self, targets: torch.Tensor) -> float:
        return 0.0


@final
class Watched(torch.optim.SGD):
    """Notes which of its steps have a gradient along the first coordinate."""

    def __init__(self, parameters: Any, *, lr: float, seen: list[bool]) -> None:
        super().__init__(parameters, lr=lr)
        self._seen = seen

    def step(self, closure: Any = None) -> Any:
        gradient = self.param_groups[0]["params"][0].grad
        self._seen.append(bool(gradient.reshape(-1)[0] != 0))
        return super().step(closure)


@final
class Silent:
    """A mechanism that asks for no noise and writes no entry, otherwise as it is."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mechanism, name)

    def local_noise_multipliers(self, cohort: np.ndarray) -> np.ndarray:
        return np.zeros(len(cohort))

    def entries(self, **position: Any) -> tuple[()]:
        return ()
