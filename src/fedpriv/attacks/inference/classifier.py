"""What updates give away, learned from updates of which it is known."""

from typing import Literal

import numpy as np
import torch

from ..observation import BoolArray, FloatArray

Learner = Literal["linear", "kernel"]


def log_odds(
    updates: torch.Tensor, *, shadows: torch.Tensor, answers: BoolArray, components: int, learner: Learner
) -> FloatArray:
    """A classifier on principal components of updates of length 1: log odds of a yes, or a margin instead (k, n).

    Args:
        updates: that are asked about (n, d).
        shadows: that it learns from (m, d).
        answers: about the shadows, yes or no: k of them, each learned by itself (k, m).
        components: of the shadows' updates that the classifier sees.
        learner: ``linear``: logistic regression; ``kernel``: a support vector machine with Gaussian kernel.
    """
    from sklearn.decomposition import KernelPCA  # late: a worker has no use for it
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler
    from sklearn.svm import SVC

    # with a linear kernel the components come from products of updates: there are fewer of these than parameters
    features = make_pipeline(
        Normalizer(),
        KernelPCA(n_components=components, kernel="linear", eigen_solver="dense"),
        StandardScaler(),
    )
    known, asked = features.fit_transform(_plain(shadows)), features.transform(_plain(updates))
    new = {"linear": lambda: LogisticRegression(max_iter=1000), "kernel": SVC}[learner]
    classifiers = (new().fit(known, answer) for answer in answers)
    return np.stack([classifier.decision_function(asked) for classifier in classifiers])


def _plain(updates: torch.Tensor) -> FloatArray:
    """A model that diverged sends what is no number: nothing is read off it."""
    found: FloatArray = np.nan_to_num(updates.double().numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    return found
