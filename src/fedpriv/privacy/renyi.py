"""Rényi curves of sampled Gaussian releases: the exact ones of dp-accounting, and fast upper bounds.

A curve is an array of RDP values, one for each order. Every curve is capped by the one without amplification,
``alpha s^2 / (2 z^2)`` (sampling never costs: quasi-convexity of the Rényi divergence), so that orders for which
a library's series does not converge cannot make a bound invalid or infinite.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from absl import logging as absl_logging
from dp_accounting import NeighboringRelation
from dp_accounting.rdp import RdpAccountant
from scipy.special import gammaln, logsumexp

from fedpriv.privacy.sampled_gaussian import Relation, SampledGaussian

Curve = npt.NDArray[np.float64]

# dp-accounting's own orders, denser above 64
LIBRARY_ORDERS: Curve = np.array(
    [1 + x / 10 for x in range(1, 100)] + [*range(11, 64), 72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 1024]
)
FAST_ORDERS: Curve = np.array([*range(2, 32), *range(32, 64, 4), 64, 80, 96, 128, 192, 256, 512, 1024], dtype=float)

_ROUNDING = 1e-14  # log-sum-exp near log(1): keeps a curve from falling below the truth by its own rounding


def sensitivity(relation: Relation) -> float:
    """L2 sensitivity of a sum of clipped terms, in clipping norms."""
    return 2.0 if relation == "replace_one" else 1.0


@lru_cache(maxsize=4096)
def library_curve(release: SampledGaussian, relation: Relation) -> Curve:
    """RDP of one release at ``LIBRARY_ORDERS`` by dp-accounting; not for Poisson under replace-one."""
    unamplified = _gaussian(release, relation, LIBRARY_ORDERS)
    if release.sampling == "all":
        return unamplified
    neighbours = (
        NeighboringRelation.REPLACE_ONE if release.sampling == "fixed_size" else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    accountant = RdpAccountant(orders=LIBRARY_ORDERS, neighboring_relation=neighbours)
    with _quiet(), np.errstate(all="ignore"):
        accountant.compose(release.event(relation))
    return _capped(accountant.rdp, unamplified)


@lru_cache(maxsize=65536)
def fast_curve(release: SampledGaussian, relation: Relation) -> Curve:
    """An upper bound on the RDP of one release at ``FAST_ORDERS``, in about a millisecond."""
    unamplified = _gaussian(release, relation, FAST_ORDERS)
    z, q = release.noise_multiplier, release.rate
    if release.sampling == "all":
        return unamplified
    if release.sampling == "fixed_size":
        return _capped(_without_replacement(q, z / 2, FAST_ORDERS), unamplified)
    if relation != "replace_one":
        return _capped(_poisson(q, z, FAST_ORDERS), unamplified)
    return _capped(_poisson_replaced(q, z, FAST_ORDERS), unamplified)


def _gaussian(release: SampledGaussian, relation: Relation, orders: Curve) -> Curve:
    return orders * (sensitivity(relation) / release.noise_multiplier) ** 2 / 2


def _capped(curve: Curve, unamplified: Curve) -> Curve:
    return np.fmin(np.maximum(curve, 0) + _ROUNDING, unamplified)  # fmin: a NaN loses


def _poisson(q: float, z: float, orders: Curve) -> Curve:
    """Mironov, Talwar & Zhang 2019 (arXiv 1908.10530), section 3.3, integer orders: exact."""
    alpha, i, log_binomial = _table(tuple(orders))
    terms = log_binomial + i * np.log(q) + (alpha - i) * np.log1p(-q) + i * (i - 1) / (2 * z**2)
    return np.asarray(logsumexp(terms, axis=1)) / (orders - 1)


def _poisson_replaced(q: float, z: float, orders: Curve) -> Curve:
    """Replace-one under Poisson: D((1-q) N(0) + q N(1) || (1-q) N(0) + q N(-1)), the same both ways by symmetry.

    One integral an order by the trapezoid rule, whose error on analytic integrands falls exponentially: the step
    resolves the noise and stays well inside the strip of width pi z^2 without zeros of the mixtures.
    """
    top = 64.0 if z < 1 else orders.max()  # little noise makes high orders useless; they are left to the cap
    step = min(z / 10, z**2 / 3)
    x = np.arange(-12 * z - 1, top + 12 * z + 1, step)
    towards, away = ((np.log(q) + (side * 2 * x - 1) / (2 * z**2)) for side in (1, -1))
    base = np.log1p(-q)
    log_p, log_q = np.logaddexp(base, towards), np.logaddexp(base, away)
    alpha = orders[orders <= top][:, None]
    exponents = alpha * log_p + (1 - alpha) * log_q - x**2 / (2 * z**2)
    log_moments = np.asarray(logsumexp(exponents, axis=1)) + np.log(step / (z * np.sqrt(2 * np.pi)))
    curve = np.full(len(orders), np.nan)
    curve[orders <= top] = log_moments / (alpha[:, 0] - 1)
    return curve


def _without_replacement(q: float, sigma: float, orders: Curve) -> Curve:
    """Wang, Balle & Kasiviswanathan 2019 (arXiv 1808.00087), Theorem 9, integer orders, sigma / sensitivity."""
    _, i, log_binomial = _table(tuple(orders))
    x = 1 / sigma**2
    moments = np.log(2) + i * (i - 1) / 2 * x
    second = min(np.log(4) + x + np.log(-np.expm1(-x)), np.log(2) + x)
    moments = np.where(i == 2, second, moments) + i * np.log(q)
    moments = np.where(i == 0, 0.0, np.where(i == 1, -np.inf, moments))
    return np.asarray(logsumexp(log_binomial + moments, axis=1)) / (orders - 1)


@lru_cache(maxsize=8)
def _table(orders: tuple[float, ...]) -> tuple[Curve, Curve, Curve]:
    """Orders (column), indices (row) and log binomial coefficients, -inf beyond the order."""
    alpha = np.array(orders)[:, None]
    i = np.arange(max(orders) + 1)[None, :]
    inside = np.maximum(alpha - i, 0)
    log_binomial = gammaln(alpha + 1) - gammaln(i + 1) - gammaln(inside + 1)
    return inside + i, i, np.where(i <= alpha, log_binomial, -np.inf)


@contextmanager
def _quiet() -> Iterator[None]:
    """dp-accounting warns of every order it leaves out; the cap makes that harmless."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
