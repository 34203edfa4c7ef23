"""Whether cohorts are drawn as they are accounted."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from fedpriv.accounting.sampling import CohortSampling

from ..judging import P_VALUE
from ..subject import SamplesCohorts, Subject
from ..verdict import Finding, judged, not_applicable

ROUNDS = 2000
_CLIENTS = 200  # for pairs
_SURE = 6.0

# A check: what it measured, in words, and whether that is what the law says.
Checked = tuple[str, bool]


def sampling(subject: Subject) -> Finding:
    """Inclusion, size of cohorts, pairs, repetitions and turns, against the law that the ledger states."""
    if not isinstance(subject, SamplesCohorts):
        return not_applicable("it draws no cohorts, or shows none")
    law = subject.accounted_sampling
    drawn, other = (_drawn(subject, law, seed=seed) for seed in (121, 122))
    checks = [found for check in _CHECKS for found in check(drawn, law)]
    checks += _same_in_another_run(drawn, other, law)
    wrong = [told for told, right in checks if not right]
    shown = "; ".join(wrong or [told for told, _ in checks])
    return judged(not wrong, f"{ROUNDS} cohorts, accounted as {law.kind}: {shown}")


def _drawn(subject: SamplesCohorts, law: CohortSampling, *, seed: int) -> np.ndarray:
    """Which clients each round asks: 0 or 1, shape (rounds, population)."""
    drawn = np.zeros((ROUNDS, law.population), dtype=np.float32)
    for row in range(ROUNDS):
        drawn[row, subject.cohort(row + 1, seed=seed)] = 1
    return drawn


def _turns(drawn: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """Who is there out of turn, and how soon a client comes again."""
    if law.separation == 1:
        return
    rows, clients = np.nonzero(drawn.T)[::-1]
    again = np.diff(rows)[np.diff(clients) == 0]
    least = int(again.min()) if len(again) else ROUNDS
    yield f"a client came again after {least} rounds at the least, claimed {law.separation}", least >= law.separation


def _inclusion(drawn: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """Each client as often as all of them, all of them as often as claimed. A cap only lowers it."""
    told, count = drawn.sum(axis=0), drawn.sum()
    turns = np.array([_turns_of(client, law) for client in range(law.population)])
    rate, expected = law.rate, law.rate * turns.sum()
    deviation = _SURE * math.sqrt(expected * (1 - rate)) + (10 if rate < 1 else 0)
    capped = law.kind == "capped_poisson"
    right = count <= expected + deviation if capped else abs(count - expected) <= deviation
    yield f"inclusion rate {count / turns.sum():.5g}, claimed {'at most ' * capped}{rate:.5g}", bool(right)
    mean = count / turns.sum() if capped else rate
    tails = np.minimum(stats.binom.cdf(told, turns, mean), stats.binom.sf(told - 1, turns, mean))
    p = float(min(1.0, 2 * tails.min() * law.population))
    least, most = told.min() / turns.max(), told.max() / turns.min()
    yield f"of single clients {least:.3g} to {most:.3g} (p = {p:.2g})", p > P_VALUE


def _sizes(drawn: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """The size of a cohort varies as it must: a coin for each client, or not at all."""
    sizes = drawn.sum(axis=1)
    if law.cap:
        yield f"cohorts of at most {sizes.max():.0f}, cap {law.cap}", bool(sizes.max() <= law.cap)
        return
    if law.kind in ("fixed_size", "all", "round_robin"):
        turns = law.population / law.separation
        exact = math.floor(turns) <= sizes.min() and sizes.max() <= math.ceil(turns)
        right = exact if law.kind != "fixed_size" else bool((sizes == law.cohort).all())
        yield f"cohorts of {sizes.min():.0f} to {sizes.max():.0f} clients, claimed {law.cohort:g}", bool(right)
        return
    turns_of_round = np.array([len(range(law.turn(row + 1), law.population, law.separation)) for row in range(ROUNDS)])
    variances = turns_of_round * law.rate * (1 - law.rate)
    squares = (sizes - turns_of_round * law.rate) ** 2
    # fourth central moment of a binomial, less the square of its second
    spread = variances * (1 - 6 * law.rate * (1 - law.rate)) + 2 * variances**2
    deviation = _SURE * math.sqrt(spread.sum()) + 10
    right = abs(squares.sum() - variances.sum()) <= deviation
    yield f"variance of a cohort's size {squares.mean():.5g}, claimed {variances.mean():.5g}", bool(right)


def _pairs(drawn: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """No two clients come together more often, or less, than they must."""
    if law.kind not in ("poisson", "fixed_size") or law.population < 2:
        return
    some = drawn[:, :_CLIENTS]
    together = (some.T @ some)[np.triu_indices(some.shape[1], k=1)]
    fixed = law.rate * (law.cohort - 1) / (law.population - 1)
    expected = law.rate**2 if law.kind == "poisson" else fixed
    tails = np.minimum(stats.binom.cdf(together, ROUNDS, expected), stats.binom.sf(together - 1, ROUNDS, expected))
    p = float(min(1.0, 2 * tails.min() * len(together)))
    covariance = together.mean() / ROUNDS - law.rate**2
    yield f"covariance of two clients {covariance:.2g} on average (p = {p:.2g})", p > P_VALUE


def _repetitions(drawn: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """A cohort says nothing of another round's."""
    if law.rate == 1:
        return
    excess, variance = _overlaps(drawn, drawn, law)
    lags = np.arange(1, ROUNDS)
    sums, variances = (np.array([np.trace(matrix, offset=lag) for lag in lags]) for matrix in (excess, variance))
    # the largest of 2,000 lags: two standard errors more than for one
    off = np.abs(sums) / ((_SURE + 2) * np.sqrt(variances) + 10)
    lag = int(lags[off.argmax()])
    yield f"cohorts {lag} rounds apart share {sums[lag - 1]:+.4g} clients beside chance", bool(off.max() <= 1)
    yield _most_alike("two rounds", np.triu(excess, k=1), variance, drawn, drawn, law)


def _same_in_another_run(drawn: np.ndarray, other: np.ndarray, law: CohortSampling) -> Iterator[Checked]:
    """Who is drawn is secret: another seed's cohorts tell nothing of it."""
    if law.rate == 1:
        return
    excess, variance = _overlaps(drawn, other, law)
    shared, deviation = np.trace(excess), math.sqrt(np.trace(variance))
    right = bool(abs(shared) <= _SURE * deviation + 10)
    yield f"two seeds' cohorts of a round share {shared / ROUNDS:+.3g} clients beside chance", right
    yield _most_alike("two seeds' cohorts", excess, variance, drawn, other, law)


def _overlaps(left: np.ndarray, right: np.ndarray, law: CohortSampling) -> tuple[np.ndarray, np.ndarray]:
    """Clients that two rounds share beside chance, and the variance of it; zero for rounds of different turns.

    Given their sizes, any two cohorts of the same turn are exchangeable draws: the overlap is hypergeometric.
    """
    turns = np.array([law.turn(row + 1) for row in range(ROUNDS)])
    pool = np.array([len(range(turn, law.population, law.separation)) for turn in turns], dtype=np.float64)
    same = turns[:, None] == turns[None, :]
    m, n = left.sum(axis=1, dtype=np.float64)[:, None], right.sum(axis=1, dtype=np.float64)[None, :]
    expected = m * n / pool[:, None]
    variance = expected * (1 - m / pool[:, None]) * (pool[:, None] - n) / np.maximum(pool - 1, 1)[:, None]
    return np.where(same, left @ right.T - expected, 0.0), np.where(same, np.maximum(variance, 0.0), 0.0)


def _most_alike(
    told: str, excess: np.ndarray, variance: np.ndarray, left: np.ndarray, right: np.ndarray, law: CohortSampling
) -> Checked:
    """The two cohorts that are most alike, by the hypergeometric tail, after Bonferroni."""
    scores = excess / np.sqrt(np.maximum(variance, 1e-12))
    i, j = np.unravel_index(np.where(variance > 0, scores, 0.0).argmax(), excess.shape)
    pool = len(range(law.turn(int(i) + 1), law.population, law.separation))
    m, n, both = left[i].sum(), right[j].sum(), (left[i] * right[j]).sum()
    p = min(1.0, float(stats.hypergeom.sf(both - 1, pool, m, n)) * excess.size)
    return f"of {told} most alike p = {p:.2g}", p > P_VALUE


def _turns_of(client: int, law: CohortSampling) -> int:
    return len(range(client % law.separation, ROUNDS, law.separation))


_CHECKS: tuple[Callable[[np.ndarray, CohortSampling], Iterator[Checked]], ...] = (
    _turns,
    _inclusion,
    _sizes,
    _pairs,
    _repetitions,
)
