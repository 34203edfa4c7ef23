"""The most that any private mechanism can give away of canaries: oracles of the bounds.

Nothing of the papers' proofs is used. Whatever a mechanism releases, guesses made from it are private, too; so the
worst of all mechanisms is one whose output is a vector of guesses, and its probabilities are a linear program.
"""

import math
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
from scipy import stats
from scipy.optimize import linprog
from scipy.sparse import lil_matrix

Point = tuple[float, float]
"""(epsilon, delta)."""


def most_chance(*, canaries: int, made: int, right: int, curve: Sequence[Point]) -> float:
    """The largest chance of at least ``right`` right guesses, over all mechanisms that keep every point of ``curve``.

    Args:
        canaries: m, each in by a fair coin; the mechanism knows all coins, and says nothing of ``canaries - made``.
    """
    truths = list(product((0, 1), repeat=canaries))
    answers = [
        dict(zip(asked, said, strict=True))
        for asked in combinations(range(canaries), made)
        for said in product((0, 1), repeat=made)
    ]
    pairs = [(a, b) for a, x in enumerate(truths) for b, y in enumerate(truths) if _differ(x, y) == 1]
    told, n = len(truths) * len(answers), len(answers)
    excess = told + np.arange(len(pairs) * len(curve) * n).reshape(len(pairs), len(curve), n)

    size = told + excess.size
    chance = np.zeros(size)
    for t, truth in enumerate(truths):
        for g, answer in enumerate(answers):
            chance[t * n + g] = sum(truth[i] == said for i, said in answer.items()) >= right
    chance /= len(truths)

    above, limit = lil_matrix((excess.size + len(pairs) * len(curve), size)), []
    for p, (a, b) in enumerate(pairs):
        for c, (epsilon, delta) in enumerate(curve):
            for g in range(n):  # P(answer | a) - e^epsilon P(answer | b) <= its excess
                row = len(limit)
                above[row, a * n + g], above[row, b * n + g] = 1.0, -math.exp(epsilon)
                above[row, excess[p, c, g]] = -1.0
                limit.append(0.0)
            above[len(limit), excess[p, c]] = 1.0  # all excesses together <= delta
            limit.append(delta)
    whole = lil_matrix((len(truths), size))
    for t in range(len(truths)):
        whole[t, t * n : (t + 1) * n] = 1.0

    found = linprog(
        -chance,
        A_ub=above.tocsr(),
        b_ub=limit,
        A_eq=whole.tocsr(),
        b_eq=np.ones(len(truths)),
        bounds=(0, None),
        method="highs",
    )
    assert found.success, found.message
    return -float(found.fun)


def most_chance_of_many(*, canaries: int, made: int, right: int, epsilon: float, delta: float) -> float:
    """The same of one point in closed form, for any number of canaries; docs/audits/bounds.md derives it."""
    law = stats.binom(made, 1 / (1 + math.exp(-epsilon)))
    tail = float(law.sf(right - 1))
    if delta == 0 or tail == 0:
        return tail
    log_share = math.log(canaries * delta / right) + float(law.logsf(right - 1) - law.logpmf(right))
    return tail + (1 - tail) * math.exp(min(0.0, log_share))


def _differ(x: Sequence[int], y: Sequence[int]) -> int:
    return sum(a != b for a, b in zip(x, y, strict=True))
