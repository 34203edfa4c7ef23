"""Two-sided confidence intervals of shares and of areas under ROC curves."""

import math


def share_interval(successes: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's exact interval (1934) of a binomial share.

    Returns:
        (low, high); covers the true share with at least ``confidence``.
    """
    from scipy import stats  # late, here and below: a worker has no use for it

    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, successes, trials - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.isf(tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high


def auc_interval(area: float, *, members: int, others: int, confidence: float) -> tuple[float, float]:
    """Newcombe's score interval (2006, Statistics in Medicine 25, method 5) of an area under the ROC curve.

    It inverts (area - x)^2 = z^2 v(x), where v is the variance of Hanley and McNeil (1982) with the sample sizes
    averaged. Unlike an interval by DeLong's variance it has a width where the samples are perfectly apart.

    Args:
        members, others: numbers of scores, >= 1.

    Returns:
        (low, high) within [0, 1].
    """
    from scipy import optimize, stats

    z = float(stats.norm.isf((1 - confidence) / 2))
    weight = (members + others) / 2 - 1

    def variance(x: float) -> float:
        spread = 1 + weight * ((1 - x) / (2 - x) + x / (1 + x))
        return x * (1 - x) * spread / (members * others)

    def excess(x: float) -> float:
        return abs(area - x) - z * math.sqrt(variance(x))

    # 0 and 1 solve it too where the area is one of them: the bracket ends just inside
    inside = min(max(area, _EDGE), 1 - _EDGE)
    low = 0.0 if area <= 0 else float(optimize.brentq(excess, 0.0, inside))
    high = 1.0 if area >= 1 else float(optimize.brentq(excess, inside, 1.0))
    return low, high


_EDGE = 1e-12
