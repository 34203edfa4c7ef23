"""The ROC curve of scores against the truth."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Roc:
    """True against false positives, from (0, 0) to (1, 1); a point for each distinct score as threshold.

    Attributes:
        false_positives, true_positives: counts, int64, ascending.
        others, members: what they are counts of.
    """

    false_positives: npt.NDArray[np.int64]
    true_positives: npt.NDArray[np.int64]
    others: int
    members: int

    def found_at(self, rate: float) -> int:
        """Most members found by a threshold whose false-positive rate is at most ``rate``."""
        allowed = self.false_positives <= rate * self.others * (1 + 1e-12)
        return int(self.true_positives[allowed].max())

    def thinned(self, points: int) -> tuple[list[float], list[float]]:
        """False- and true-positive rates for logarithmic axes: what is best at about so many false-positive rates."""
        grid = np.unique(np.rint(np.geomspace(1, self.others, points)).astype(np.int64))
        last = np.searchsorted(self.false_positives, np.concatenate([[0], grid]), side="right") - 1
        last = np.unique(last)
        fpr, tpr = self.false_positives[last] / self.others, self.true_positives[last] / self.members
        return fpr.tolist(), tpr.tolist()


def roc(scores: FloatArray, members: BoolArray) -> Roc:
    """The curve; candidates with equal scores are found together.

    Args:
        scores: (n,), none NaN; higher for likelier members.
        members: the truth (n,).
    """
    order = np.argsort(-scores, kind="stable")
    ordered, truth = scores[order], members[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found, mistaken = np.cumsum(truth)[ends], np.cumsum(~truth)[ends]
    return Roc(
        false_positives=np.concatenate([[0], mistaken]).astype(np.int64),
        true_positives=np.concatenate([[0], found]).astype(np.int64),
        others=int((~members).sum()),
        members=int(members.sum()),
    )


def auc(scores: FloatArray, members: BoolArray) -> float:
    """Area under the curve: chance that a member has a higher score than another, ties counting half.

    Mann and Whitney's statistic (1947) over the number of pairs.
    """
    from scipy import stats  # late: a worker has no use for it

    ranks = stats.rankdata(scores)
    count = int(members.sum())
    return float((ranks[members].sum() - count * (count + 1) / 2) / (count * (len(scores) - count)))
