"""Rényi curves of sampled Gaussian releases: the exact ones of dp-accounting, and fast upper bounds.

A curve is an array of RDP values, one for each order. Every curve is capped by the one without amplification,
``alpha s^2 / (2 z^2)`` (sampling never costs: quasi-convexity of the Rényi divergence), so that orders for which
a library's series does not converge cannot make a bound invalid or infinite.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fedpriv.accounting.sampled_gaussian import Relation, SampledGaussian

Curve = npt.NDArray[np.float64]

# dp-accounting's own orders, denser above 64
LIBRARY_ORDERS: Curve = np.array(
    [1 + x / 10 for x in range(1, 100)] + [*range(11, 64), 72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 1024]
)
_WHOLE_ORDERS: Curve = np.array([*range(2, 32), *range(32, 64, 4), 64, 80, 96, 128, 192, 256, 512, 1024], dtype=float)
_LOW_ORDERS: Curve = np.array([1.1, 1.2, 1.35, 1.5, 1.75])  # what a large epsilon is best read from
COARSE_ORDERS: Curve = np.array([1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 11, 14, 18, 23, 29, 36, 46, 64, 96, 160])
FAST_ORDERS: Curve = np.concatenate([_LOW_ORDERS, _WHOLE_ORDERS])

_ROUNDING = 1e-14  # log-sum-exp near log(1): keeps a curve from falling below the truth by its own rounding


@lru_cache(maxsize=4096)
def library_curve(release: SampledGaussian, relation: Relation) -> Curve:
    """RDP of one release at ``LIBRARY_ORDERS`` by dp-accounting; not for Poisson under replace-one."""
    return _by_library(release, relation, LIBRARY_ORDERS)


@lru_cache(maxsize=4096)
def coarse_curve(release: SampledGaussian, relation: Relation) -> Curve:
    """The same at ``COARSE_ORDERS``: for cohorts of fixed size in a tenth of the time."""
    return _by_library(release, relation, COARSE_ORDERS)


def _by_library(release: SampledGaussian, relation: Relation, orders: Curve) -> Curve:
    from dp_accounting import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    unamplified = _gaussian(release, relation, orders)
    if release.sampling == "all":
        return unamplified
    neighbours = (
        NeighboringRelation.REPLACE_ONE if release.sampling == "fixed_size" else NeighboringRelation.ADD_OR_REMOVE_ONE
    )
    # without replacement the library's bound is Theorem 9 of Wang et al. from here on, term by term in Python
    own = orders > (256 if release.sampling == "fixed_size" else math.inf)
    accountant = RdpAccountant(orders=orders[~own], neighboring_relation=neighbours)
    with _quiet(), np.errstate(all="ignore"):
        accountant.compose(release.event(relation))
    high = _without_replacement(release.rate, release.noise_multiplier / 2, orders[own]) if own.any() else orders[own]
    return _capped(np.concatenate([accountant.rdp, high]), unamplified)


@lru_cache(maxsize=65536)
def fast_curve(release: SampledGaussian, relation: Relation) -> Curve:
    """An upper bound on the RDP of one release at ``FAST_ORDERS``, in about a millisecond."""
    unamplified = _gaussian(release, relation, FAST_ORDERS)
    z, q = release.noise_multiplier, release.rate
    if release.sampling == "all":
        return unamplified
    if release.sampling == "capped_poisson":
        low, whole = (_truncated(release, relation, orders) for orders in (_LOW_ORDERS, _WHOLE_ORDERS))
    elif release.sampling == "fixed_size":
        low, whole = np.full(len(_LOW_ORDERS), np.nan), _without_replacement(q, z / 2, _WHOLE_ORDERS)
    elif relation == "replace_one":
        low, whole = _replaced(q, z, _LOW_ORDERS), _replaced(q, z, _WHOLE_ORDERS)
    else:
        low, whole = _removed(q, z, _LOW_ORDERS), _poisson(q, z, _WHOLE_ORDERS)
    return _capped(np.concatenate([low, whole]), unamplified)


def _gaussian(release: SampledGaussian, relation: Relation, orders: Curve) -> Curve:
    return orders * (release.sensitivity(relation) / release.noise_multiplier) ** 2 / 2


def _capped(curve: Curve, unamplified: Curve) -> Curve:
    return np.fmin(np.maximum(curve, 0) + _ROUNDING, unamplified)  # fmin: a NaN loses


def _poisson(q: float, z: float, orders: Curve) -> Curve:
    """Mironov, Talwar & Zhang 2019 (arXiv 1908.10530), section 3.3, integer orders: exact."""
    alpha, i, log_binomial = _table(tuple(orders))
    terms = log_binomial + i * np.log(q) + (alpha - i) * np.log1p(-q) + i * (i - 1) / (2 * z**2)
    return _log_sums(terms) / (orders - 1)


def _removed(q: float, z: float, orders: Curve) -> Curve:
    """Add-or-remove-one under Poisson: D((1-q) N(0) + q N(1) || N(0)), the larger of the two directions."""
    return _divergence(q, z, orders, replaced=False)


def _replaced(q: float, z: float, orders: Curve) -> Curve:
    """Replace-one under Poisson: D((1-q) N(0) + q N(1) || (1-q) N(0) + q N(-1)), the same both ways."""
    return _divergence(q, z, orders, replaced=True)


def truncation(release: SampledGaussian, relation: Relation) -> tuple[float, float]:
    """Of a capped Poisson sample: chance that it is full without a unit, and then that unit's chance to be in it.

    Counted in the larger of two neighbours: under add-or-remove-one that has one unit more than the population.

    As arXiv 2508.15089 has it, and dp-accounting's ``TruncatedSubsampledGaussianDpEvent``.
    """
    from scipy.stats import binom

    n, q, cap = release.larger_population(relation), release.rate, release.cohort
    full = float(binom.sf(cap - 1, n - 1, q))
    return full, 0.0 if full == 0 else float(min(1.0, binom.sf(cap, n, q) * cap / full / n))


def _truncated(release: SampledGaussian, relation: Relation, orders: Curve) -> Curve:
    """A mixture, told which: an ordinary Poisson sample, or a full one, where a unit replaces another at twice the
    sensitivity. The pair is dp-accounting's; moments of a mixture whose component is told are the mixed moments.
    """
    z, q = release.noise_multiplier, release.rate
    full, share = truncation(release, relation)
    plain = _replaced(q, z, orders) if relation == "replace_one" else _removed(q, z, orders)
    if full == 0:
        return plain
    pushed = _replaced(share, z / 2, orders)
    with np.errstate(all="ignore"):  # NaN or infinite where the orders are no use
        moments = np.logaddexp(np.log1p(-full) + (orders - 1) * plain, np.log(full) + (orders - 1) * pushed)
    return np.asarray(moments / (orders - 1))


def _divergence(q: float, z: float, orders: Curve, *, replaced: bool) -> Curve:
    """One integral an order by the trapezoid rule, whose error on analytic integrands falls exponentially.

    The step resolves the noise and stays well inside the strip of half width pi z^2 without zeros of the mixtures.
    NaN for high orders at little noise, where they are no use.
    """
    top = min(64.0, orders.max()) if z < 1 else orders.max()
    step = min(z / 10, z**2 / 3)
    x = np.arange(-12 * z - 1, top + 12 * z + 1, step)
    # densities relative to N(0, z^2)
    with np.errstate(divide="ignore"):  # q = 1
        absent = np.log1p(-q)
    log_p = np.logaddexp(absent, np.log(q) + (2 * x - 1) / (2 * z**2))
    log_q = np.logaddexp(absent, np.log(q) - (2 * x + 1) / (2 * z**2)) if replaced else np.zeros_like(x)
    alpha = orders[orders <= top][:, None]
    exponents = alpha * log_p + (1 - alpha) * log_q - x**2 / (2 * z**2)
    log_moments = _log_sums(exponents) + np.log(step / (z * np.sqrt(2 * np.pi)))
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
    return _log_sums(log_binomial + moments) / (orders - 1)


def _log_sums(terms: Curve) -> Curve:
    """Of each row."""
    from scipy.special import logsumexp

    return np.asarray(logsumexp(terms, axis=1))


@lru_cache(maxsize=8)
def _table(orders: tuple[float, ...]) -> tuple[Curve, Curve, Curve]:
    """Orders (column), indices (row) and log binomial coefficients, -inf beyond the order."""
    from scipy.special import gammaln

    alpha = np.array(orders)[:, None]
    i = np.arange(max(orders) + 1)[None, :]
    inside = np.maximum(alpha - i, 0)
    log_binomial = gammaln(alpha + 1) - gammaln(i + 1) - gammaln(inside + 1)
    return inside + i, i, np.where(i <= alpha, log_binomial, -np.inf)


@contextmanager
def _quiet() -> Iterator[None]:
    """dp-accounting warns of every order it leaves out; the cap makes that harmless."""
    from absl import logging as absl_logging

    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
