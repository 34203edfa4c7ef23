"""What privacy costs by definition: formulas, enumeration and integrals that share no code with fedpriv.

Mechanisms, also those to come, are held to these. Everything here is exact up to float rounding; lower bounds are in
``lower_bounds.py``.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mpmath
import numpy as np
from scipy import stats
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp

Mixture = tuple[tuple[float, float], ...]
"""(weight, mean) of each component."""


# -- sampled Gaussians ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """What one release looks like on two neighbouring datasets: mixtures of Gaussians of one standard deviation.

    The privacy loss of an output x is log p(x) / q(x), in this direction; neighbours are judged in both.
    """

    p: Mixture
    q: Mixture
    std: float

    def swapped(self) -> "Pair":
        return Pair(self.q, self.p, self.std)

    def logs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log densities at x, without their common factor."""
        return self._log(self.p, x), self._log(self.q, x)

    def _log(self, mixture: Mixture, x: np.ndarray) -> np.ndarray:
        weights, means = np.array(mixture).T
        with np.errstate(divide="ignore"):
            return logsumexp(np.log(weights) - (x[:, None] - means) ** 2 / (2 * self.std**2), axis=1)

    @property
    def largest_loss(self) -> float:
        """Where losses are bounded, their bound; elsewhere the loss a thousand standard deviations away."""
        far = max(abs(mean) for _, mean in self.p + self.q) + 1000 * self.std
        log_p, log_q = self.logs(np.array([-far, far]))
        return float((log_p - log_q).max())

    def log_moment(self, s: np.ndarray) -> np.ndarray:
        """log of the integral of p^(1+s) q^(-s) at complex s with one real part, by the trapezoid rule.

        Its error on these analytic integrands falls exponentially with the step.
        """
        real, means = float(s.real[0]), [mean for _, mean in self.p + self.q]
        low, high = min(means), max(means)
        reach = (high - low) * (real + 1) + 14 * self.std
        step = min(self.std / 12, self.std**2 / (6 * max(high - low, 1.0)))
        x = np.arange(low - reach, high + reach, step)
        log_p, log_q = self.logs(x)
        loss, log_mass = log_p - log_q, log_p + real * (log_p - log_q)
        kept = log_mass > log_mass.max() - 45
        loss, log_mass = loss[kept], log_mass[kept]
        mass = np.exp(log_mass - log_mass.max())
        sums = [np.exp(1j * part.imag[:, None] * loss) @ mass for part in np.array_split(s, max(1, len(s) // 256))]
        with np.errstate(divide="ignore"):
            return np.log(np.concatenate(sums)) + log_mass.max() + math.log(step / (self.std * math.sqrt(2 * math.pi)))


def gaussian(shift: float, std: float) -> Pair:
    """One Gaussian release without sampling, whose mean moves by ``shift``."""
    return Pair(((1.0, shift),), ((1.0, 0.0),), std)


def poisson(rate: float, std: float) -> Pair:
    """Remove one unit of norm 1 that its own coin includes; ``swapped()`` adds it."""
    return Pair(((1 - rate, 0.0), (rate, 1.0)), ((1.0, 0.0),), std)


def poisson_replaced(rate: float, std: float) -> Pair:
    """Replace one unit of norm 1 by its opposite; the same in both directions."""
    return Pair(((1 - rate, 0.0), (rate, 1.0)), ((1 - rate, 0.0), (rate, -1.0)), std)


Releases = Sequence[tuple[Pair, int]]


def exact_delta(releases: Releases, epsilon: float) -> float:
    """Hockey-stick divergence of a composition, by the inversion integral of its moment generating function.

    delta = 1/(2 pi i) times the integral of M(s) e^(-s epsilon) / (s (s + 1)) along Re s = a, for any a > 0, where
    M(s) = E_p[e^(s loss)] (Alghamdi et al. 2022, "The saddle-point method in differential privacy", Theorem 1). Through
    the saddle point nothing cancels: relative error about 1e-10. One or two releases decay too slowly for it: there are
    ``delta_of_one`` and ``delta_of_two``.

    Raises:
        ArithmeticError: the integrand does not decay.
    """
    if epsilon >= sum(times * pair.largest_loss for pair, times in releases):
        return 0.0

    def log_moment(s: np.ndarray) -> np.ndarray:
        return np.asarray(sum(times * pair.log_moment(s) for pair, times in releases))

    def exponent(log_a: float) -> float:
        a = math.exp(log_a)
        return float(log_moment(np.array([a + 0j]))[0].real) - a * epsilon - math.log(a * (a + 1))

    log_a = float(minimize_scalar(exponent, bounds=(-4, 5.5), method="bounded", options={"xatol": 1e-2}).x)
    a, peak = math.exp(log_a), math.exp(exponent(log_a))
    around = [log_moment(np.array([a * f + 0j]))[0].real for f in (0.99, 1.0, 1.01)]
    spread = math.sqrt(max((around[0] - 2 * around[1] + around[2]) / (0.01 * a) ** 2, 0.0))
    step = 2 * math.pi / (60 / a + 30 * spread)
    total = 0.0
    for block in range(64):
        s = a + 1j * step * np.arange(512 * block, 512 * (block + 1))
        terms = np.exp(log_moment(s) - s * epsilon) / (s * (s + 1))
        total += float(terms.real.sum()) - (float(terms[0].real) / 2 if block == 0 else 0)
        if np.abs(terms[-8:]).max() < 1e-12 * peak:
            return total * step / math.pi
    raise ArithmeticError("the integrand decays too slowly")


def exact_epsilon(releases: Releases, delta: float) -> float:
    """Epsilon of a composition: the larger of the two directions, each composed by itself."""
    return max(_one_way(one_way, delta) for one_way in (releases, [(pair.swapped(), n) for pair, n in releases]))


def _one_way(releases: Releases, delta: float) -> float:
    low, high = 1e-3, 1.0
    if exact_delta(releases, low) <= delta:
        return 0.0
    while exact_delta(releases, high) > delta:
        low, high = high, 2 * high
    return float(brentq(lambda e: math.log(max(exact_delta(releases, e), 1e-300) / delta), low, high, xtol=1e-9))


def delta_of_one(rate: float, std: float, epsilon: mpmath.mpf, *, case: str) -> mpmath.mpf:
    """One Poisson-sampled release in the working precision of mpmath; ``case``: remove, add or replace.

    delta = P[loss > epsilon] - e^epsilon Q[loss > epsilon]; the loss is monotone, and equals epsilon where x says.
    """
    q, z, grown = mpmath.mpf(rate), mpmath.mpf(std), mpmath.exp(epsilon)
    half = mpmath.exp(-1 / (2 * z**2))  # the densities at x, of means 1 and 0, have ratio half * e^(x / z^2)

    def above(x: mpmath.mpf, mean: int) -> mpmath.mpf:
        """P[(1-q) N(0) + q N(mean) > x]."""
        return (1 - q) * mpmath.ncdf(-x / z) + q * mpmath.ncdf((mean - x) / z)

    if case == "remove":
        if grown <= 1 - q:
            return 1 - grown
        x = z**2 * mpmath.log((grown - 1 + q) / (q * half))
        return above(x, 1) - grown * mpmath.ncdf(-x / z)
    if case == "add":  # the loss falls with x
        if 1 / grown <= 1 - q:
            return mpmath.mpf(0)
        x = z**2 * mpmath.log((1 / grown - 1 + q) / (q * half))
        return mpmath.ncdf(x / z) - grown * (1 - above(x, 1))
    # (1 - q + q half y) / (1 - q + q half / y) = e^epsilon with y = e^(x / z^2)
    b = (1 - q) * (1 - grown)
    x = z**2 * mpmath.log((-b + mpmath.sqrt(b**2 + 4 * (q * half) ** 2 * grown)) / (2 * q * half))
    return above(x, 1) - grown * above(x, -1)


def delta_of_two(rate: float, std: float, epsilon: mpmath.mpf, *, case: str) -> mpmath.mpf:
    """Two such releases: the mean of ``delta_of_one`` over what the first release's loss leaves of epsilon."""
    q, z = mpmath.mpf(rate), mpmath.mpf(std)

    def mixture(x: mpmath.mpf, mean: int) -> mpmath.mpf:
        return (1 - q) * mpmath.npdf(x, 0, z) + q * mpmath.npdf(x, mean, z)

    def at(x: mpmath.mpf) -> mpmath.mpf:
        p = mixture(x, 0 if case == "add" else 1)
        other = mixture(x, {"remove": 0, "add": 1, "replace": -1}[case])
        return p * delta_of_one(rate, std, epsilon - mpmath.log(p / other), case=case)

    return mpmath.quad(at, [k * z for k in range(-12, 13, 2)] + [1 + 12 * z, 1 + 16 * z])


def renyi_poisson(rate: float, std: float, order: int) -> mpmath.mpf:
    """RDP of one Poisson-sampled Gaussian, whole orders: Mironov, Talwar & Zhang 2019 (arXiv 1908.10530), sec. 3.3."""
    q, z = mpmath.mpf(rate), mpmath.mpf(std)
    terms = (
        mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * mpmath.exp((k * k - k) / (2 * z**2))
        for k in range(order + 1)
    )
    return mpmath.log(mpmath.fsum(terms)) / (order - 1)


def renyi(pair: Pair, order: float) -> mpmath.mpf:
    """Renyi divergence of any pair, any order above 1: the integral itself."""

    def density(x: mpmath.mpf, mixture: Mixture) -> mpmath.mpf:
        return mpmath.fsum(mpmath.mpf(weight) * mpmath.npdf(x, mean, pair.std) for weight, mean in mixture)

    means = [mean for _, mean in pair.p + pair.q]
    low, high = min(means), max(means) + (order - 1) * (max(means) - min(means))
    points = sorted({end + k * pair.std for end in (low, high) for k in (-30, -3, 0, 3, 30)})
    moment = mpmath.quad(lambda x: density(x, pair.p) ** order * density(x, pair.q) ** (1 - order), points)
    return mpmath.log(moment) / (order - 1)


# -- conversions -----------------------------------------------------------------------------------------------


def epsilon_by_old_conversion(orders: np.ndarray, curve: np.ndarray, delta: float) -> float:
    """Mironov 2017 (arXiv 1702.07476), Proposition 3: what papers before 2020 printed."""
    return float(np.min(curve - math.log(delta) / (orders - 1)))


def epsilon_of_zcdp(rho: float, delta: float) -> float:
    """Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), Proposition 12 with RDP rho * alpha."""

    def at(log_excess: float) -> float:
        alpha = 1 + math.exp(log_excess)
        return rho * alpha + math.log1p(-1 / alpha) - math.log(alpha * delta) / (alpha - 1)

    return float(minimize_scalar(at, bounds=(-8, 12), method="bounded", options={"xatol": 1e-10}).fun)


def classical_sigma(epsilon: float, delta: float) -> float:
    """Dwork & Roth 2014, Theorem A.1: a proof for epsilon < 1 only."""
    return math.sqrt(2 * math.log(1.25 / delta)) / epsilon


# -- discrete Gaussians ----------------------------------------------------------------------------------------


def discrete_gaussian(sigma: float, reach: int) -> dict[int, mpmath.mpf]:
    """Probabilities at the whole numbers from -reach to reach: Canonne, Kamath & Steinke 2020, Definition 1."""
    weights = {k: mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * mpmath.mpf(sigma) ** 2)) for k in range(-reach, reach + 1)}
    total = mpmath.fsum(weights.values())
    return {k: w / total for k, w in weights.items()}


def sum_of(law: dict[int, mpmath.mpf], summands: int) -> dict[int, mpmath.mpf]:
    """The law of a sum of independent whole numbers."""
    total = {0: mpmath.mpf(1)}
    for _ in range(summands):
        following: dict[int, mpmath.mpf] = {}
        for (i, one), (k, other) in itertools.product(total.items(), law.items()):
            following[i + k] = following.get(i + k, mpmath.mpf(0)) + one * other
        total = following
    return total


def delta_of_discrete(law: dict[int, mpmath.mpf], sensitivity: int, epsilon: float) -> mpmath.mpf:
    """Hockey-stick divergence between whole-number noise and the same moved by the sensitivity, by enumeration."""
    grown = mpmath.exp(mpmath.mpf(epsilon))
    return mpmath.fsum(max(p - grown * law.get(k - sensitivity, 0), 0) for k, p in law.items())


def epsilon_of_discrete(law: dict[int, mpmath.mpf], sensitivity: int, delta: float) -> float:
    return float(brentq(lambda e: float(mpmath.log(delta_of_discrete(law, sensitivity, e) / delta)), 1e-3, 100))


def renyi_of_discrete(law: dict[int, mpmath.mpf], sensitivity: int, order: float) -> float:
    moment = mpmath.fsum(
        p**order * law[k - sensitivity] ** (1 - order) for k, p in law.items() if k - sensitivity in law
    )
    return float(mpmath.log(moment) / (order - 1))


def renyi_bound_of_discrete_sum(sigma: float, summands: int, sensitivity: float, order: float) -> float:
    """Kairouz, Liu & Steinke 2021 (arXiv 2102.06387), Proposition 14, one dimension; sigma >= 1/2."""
    tau = 10 * sum(math.exp(-2 * (math.pi * sigma) ** 2 * k / (k + 1)) for k in range(1, summands))
    scaled = sensitivity / (math.sqrt(summands) * sigma)
    return min(order * scaled**2 / 2 + tau, order / 2 * (scaled + tau) ** 2)


# -- correlated noise ------------------------------------------------------------------------------------------


def patterns(rounds: int, min_separation: int) -> Iterator[tuple[int, ...]]:
    """Every set of rounds in which a client may take part, at least ``min_separation`` rounds apart."""
    for first in range(rounds):
        yield (first,)
        yield from ((first, *later) for later in _from(first + min_separation, rounds, min_separation))


def _from(start: int, rounds: int, min_separation: int) -> Iterator[tuple[int, ...]]:
    for first in range(start, rounds):
        yield (first,)
        yield from ((first, *later) for later in _from(first + min_separation, rounds, min_separation))


def strategy_sensitivity(strategy: np.ndarray, participations: Iterator[tuple[int, ...]]) -> float:
    """L2 sensitivity of C x over participation patterns, each contribution of norm at most 1.

    Choquette-Choo et al. 2023 (arXiv 2211.06530), section 2: where C^T C is nonnegative the worst contributions are
    parallel, so that it is the largest norm of a sum of columns.
    """
    if (strategy.T @ strategy < -1e-12).any():
        raise ValueError("contributions of opposite signs might be worse")
    return max(float(np.linalg.norm(strategy[:, list(rounds)].sum(axis=1))) for rounds in participations)


def binary_tree(leaves: int) -> np.ndarray:
    """Which leaves each complete node sums: Dwork et al. 2010; Honaker 2015. Shape (nodes, leaves)."""
    rows = []
    size = 1
    while size <= leaves:
        for start in range(0, leaves - size + 1, size):
            rows.append([start <= leaf < start + size for leaf in range(leaves)])
        size *= 2
    return np.array(rows, dtype=float)


def square_root_of_prefix_sums(rounds: int) -> np.ndarray:
    """The lower-triangular Toeplitz C with C C = A, A all prefix sums: Fichtenberger, Henzinger & Upadhyay 2023."""
    coefficients = [math.comb(2 * k, k) / 4**k for k in range(rounds)]
    return np.array([[coefficients[i - j] if i >= j else 0.0 for j in range(rounds)] for i in range(rounds)])


def banded(strategy: np.ndarray, bands: int) -> np.ndarray:
    """The first diagonals of a lower-triangular matrix, columns of norm 1: Choquette-Choo et al. 2023 (2306.08153)."""
    kept = np.tril(np.triu(strategy.T, 0), bands - 1).T
    return kept / np.linalg.norm(kept, axis=0)


# -- adaptive clipping, audits ---------------------------------------------------------------------------------


def update_noise_multiplier(noise_multiplier: float, count_std: float) -> float:
    """What is left for updates if the clipped count gets ``count_std``: Andrew et al. 2021, Theorem 1."""
    return (noise_multiplier**-2 - (2 * count_std) ** -2) ** -0.5


def one_run_audit(*, canaries: int, guesses: int, correct: int, delta: float, confidence: float) -> float:
    """Epsilon refuted by an audit in one run: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), Theorem 5.2."""

    def p_value(epsilon: float) -> float:
        law = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
        i = np.arange(1, correct + 1)
        between = law.cdf(correct - 1) - law.cdf(correct - i - 1)  # P[correct > law >= correct - i]
        alpha = float((between / i).max())
        return min(1.0, float(law.sf(correct - 1)) + 2 * canaries * delta * alpha)

    if p_value(0.0) >= 1 - confidence:
        return 0.0
    return float(brentq(lambda e: p_value(e) - (1 - confidence), 0.0, 50.0, xtol=1e-9))
