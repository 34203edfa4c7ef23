"""Client-level clipping onto a public integer grid.

The sum of clipped updates is what noise is calibrated to, so its sensitivity must hold in the arithmetic that
runs, not only on paper. Coordinates are scaled in float64, then truncated toward zero onto a power-of-two grid
of int64: truncation can only shorten the vector, and integer sums are exact in any order.
"""

import math
from dataclasses import dataclass

import torch

from fedpriv.errors import ConfigError

from .encoded import EncodedUpdate

_GRID_BITS = 30
_EXACT_FLOAT = 2**53
_BLOCK = 2**16
_LEAST, _MOST = 1e-100, 1e100  # beyond, squares of what matters underflow or overflow


@dataclass(frozen=True, kw_only=True)
class ClippingGrid:
    """Clips to an L2 norm and encodes as integers.

    | update | result |
    | --- | --- |
    | norm <= clipping_norm | itself, truncated toward zero to the grid |
    | norm > clipping_norm | scaled to the clipping norm, then truncated |
    | zero, or shape (0,) | zero |
    | any NaN or infinity | zero |
    | norm overflows float64 | zero |

    Guarantee: the L2 norm of ``values * step`` is at most ``clipping_norm``, so adding or removing a client
    moves the sum by at most ``clipping_norm``.

    Args:
        clipping_norm: L2 bound of one client's whole update, from 1e-100 to 1e100.
        summands: most clients that one sum may hold; sums stay exact below 2**53.
    """

    clipping_norm: float
    summands: int

    def __post_init__(self) -> None:
        if not _LEAST <= self.clipping_norm <= _MOST:
            raise ConfigError(
                f"privacy.clipping_norm must lie between {_LEAST:g} and {_MOST:g}, not be {self.clipping_norm}."
            )
        if self.summands * 2 ** (_GRID_BITS + 1) > _EXACT_FLOAT:
            raise ConfigError(
                f"A sum over {self.summands} clients does not fit the exact integer grid "
                f"(at most {_EXACT_FLOAT >> (_GRID_BITS + 1)}); use a smaller cohort."
            )

    @property
    def step(self) -> float:
        """Distance between neighbouring grid points: the largest power of two <= clipping_norm, over 2**30."""
        return math.ldexp(1.0, math.frexp(self.clipping_norm)[1] - 1 - _GRID_BITS)

    def encode(self, update: torch.Tensor) -> EncodedUpdate:
        """Clip updates, shape (n, d) or (d,), and put them on the grid: ``values`` are int64, in units of ``step``."""
        values = torch.empty(update.shape, dtype=torch.int64)
        norm = self.fill(values, update)
        finite = norm.isfinite()
        return EncodedUpdate(
            values=values,
            norm=torch.where(finite, norm, math.nan),
            clipped=~finite | (norm > self.clipping_norm),
        )

    def fill(self, values: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """As ``encode``, into ``values``, int64 of the same shape; the norms (float64) of ``update`` as it was."""
        norm: torch.Tensor = torch.linalg.vector_norm(update, dim=-1, dtype=torch.float64)
        finite = norm.isfinite()
        safe_norm = self.clipping_norm * (1 - _rounding(update.shape[-1]))
        factor = torch.where(norm <= safe_norm, 1.0, safe_norm / norm)[..., None] / self.step
        # by blocks that fit a cache: of long vectors, the traffic to memory is what takes the time
        for block, room in zip(update.split(_BLOCK, dim=-1), values.split(_BLOCK, dim=-1), strict=True):
            room.copy_(block.double() * factor)  # which truncates toward zero
        if not bool(finite.all()):
            values.masked_fill_(~finite[..., None], 0)
        return norm

    def decode(self, total: torch.Tensor) -> torch.Tensor:
        """A sum of encoded updates (int64) as float64, exactly."""
        return total.to(torch.float64) * self.step


def clipped_in_l1(update: torch.Tensor, *, norm: float) -> EncodedUpdate:
    """Updates (n, d) scaled in float64 to an L1 norm of at most ``norm``; one that is not finite becomes zero.

    Args:
        norm: from 1e-100 to 1e100.
    """
    values = update.double()
    lengths = torch.linalg.vector_norm(values, ord=1, dim=-1)
    finite = lengths.isfinite()
    safe_norm = norm * (1 - 2 * _rounding(update.shape[-1]))
    factors = torch.where(lengths <= safe_norm, 1.0, safe_norm / lengths)
    return EncodedUpdate(
        values=torch.where(finite[:, None], values * factors[:, None], 0.0),
        norm=torch.where(finite, torch.linalg.vector_norm(values, dim=-1), math.nan),
        clipped=~finite | (lengths > norm),
    )


def _rounding(size: int) -> float:
    """What float64 can lose of a norm of ``size`` coordinates, whatever the order of summation, relative."""
    return (size + 64) * 2.0**-53
