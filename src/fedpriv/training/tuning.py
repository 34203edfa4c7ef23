"""How work is cut and which engine does it: a deterministic function of settings, never of a clock.

`fedpriv tune` measures, and the keys of ``tuning`` then say what is better than these rules.
"""

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from .vectorized import Formulation

Engine = Literal["vectorized", "opacus", "sgd"]
Convolutions = Literal["patches", "native"]
MemoryFormat = Literal["channels_last", "contiguous"]
_T = TypeVar("_T")

_CHUNKS, _FEW_CHUNKS = 16, 8  # of a cohort; few where stacks would be wide
_WIDE_STACK = 4
_MOST_CLIENTS = 256  # of a stack: more gain nothing, and cost memory
_STACK_FLOPS = {"cpu": 1e8, "cuda": 1e11}  # of a forward pass: from there on arithmetic, not Python, takes the time
_STACK_NUMBERS = 2**24  # parameters of a stack: there are about six such matrices
_PATCH_FLOPS = 5e6  # of an example's forward pass: from there on a CPU's own convolutions are faster than patches

# These step on every number by itself, so that one of them may step on many clients' parameters at once.
ELEMENTWISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
    torch.optim.RMSprop,
    torch.optim.ASGD,
    torch.optim.Rprop,
)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Part of what the run id hashes: a round has the same bits only with the same.

    Attributes:
        engine: ``vectorized``, ``opacus`` (DP-SGD, client after client) or ``sgd`` (plain steps, client after client).
        chunk_size: clients of one float sum; depends on neither nodes nor workers.
        stack_size: most clients that train side by side.
        convolutions: products of patches, or torch's own; None: not the vectorised engine's, or there are none.
        memory_format: of images; None as before.
        threads: of every worker.
        formulation: how the vectorised engine finds gradients; None for the others.
    """

    engine: Engine
    chunk_size: int
    stack_size: int
    convolutions: Convolutions | None
    memory_format: MemoryFormat | None
    threads: int
    formulation: Formulation | None

    def to_json(self) -> dict[str, Any]:
        found = self.formulation
        return {**asdict(self), "formulation": found and {**asdict(found), "wide": list(found.wide)}}


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is said of a tuning; None leaves it to the rules. As in ``Tuning``."""

    engine: Engine | None
    chunk_size: int | None
    stack_size: int | None
    convolutions: Convolutions | None
    memory_format: MemoryFormat | None


def choose_tuning(
    wishes: Wishes,
    *,
    model: nn.Module,
    sample: torch.Tensor,
    formulation: Formulation | None,
    example_level: bool,
    batch_size: int,
    expected_cohort: float,
    clients_per_node: int | None,
    threads: int,
    device: torch.device,
) -> Tuning:
    """Chunks fine enough for every sensible number of workers, stacks wide enough that Python is not what takes time.

    Args:
        sample: at least one example.
        formulation: how the vectorised engine can do it, if it can.
    """
    one_by_one: Engine = "opacus" if example_level else "sgd"
    worth = formulation is not None and (example_level or formulation.side_by_side)
    flops = max(1.0, _forward_flops(model, sample[:1]))
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    most = min(_STACK_NUMBERS // parameters, _MOST_CLIENTS)
    side_by_side = max(1, min(math.ceil(_STACK_FLOPS[device.type] / flops / batch_size), most))
    if formulation is not None and formulation.wide and not example_level:  # one product for all clients
        side_by_side = max(side_by_side, _WIDE_STACK)
    count = _FEW_CHUNKS if side_by_side >= expected_cohort / _FEW_CHUNKS else _CHUNKS
    chunk_size = _or(wishes.chunk_size, max(1, math.ceil(expected_cohort / count)))
    if clients_per_node is not None:
        chunk_size = min(chunk_size, clients_per_node)
    engine = _or(wishes.engine, "vectorized" if worth else one_by_one)
    used = formulation if engine == "vectorized" else None
    # what cannot matter is not said, so that it makes no other run of the same
    by_layer = used is not None and not used.whole
    patches: Convolutions = "patches" if flops < _PATCH_FLOPS or device.type == "cuda" else "native"
    beside = _or(wishes.stack_size, side_by_side) if used is not None and used.side_by_side else 1
    return Tuning(
        engine=engine,
        chunk_size=chunk_size,
        stack_size=min(beside, chunk_size),
        convolutions=_or(wishes.convolutions, patches) if by_layer and _has(model, nn.Conv1d, nn.Conv2d) else None,
        memory_format=_or(wishes.memory_format, "channels_last") if used and _has(model, nn.Conv2d) else None,
        threads=threads,
        formulation=used,
    )


def _has(model: nn.Module, *kinds: type[nn.Module]) -> bool:
    return any(isinstance(layer, kinds) for layer in model.modules())


def _or(wish: _T | None, rule: _T) -> _T:
    return rule if wish is None else wish


def _forward_flops(model: nn.Module, example: torch.Tensor) -> float:
    """Floating point operations of a forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    model = copy.deepcopy(model).eval()  # one example alone is too few for some layers that train
    with torch.no_grad(), torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        model(example.to(next(model.parameters()).device))
    return float(counter.get_total_flops())
