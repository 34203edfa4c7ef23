"""Loaders: each is a function that returns a ``Dataset``, chosen by ``_target_`` in conf/data/.

A loader of your own is any function ``(*, rng: np.random.Generator, ...) -> Dataset``.
"""

from fedpriv.data.sources.embedded import breast_cancer, digits, mnist5k
from fedpriv.data.sources.idx_format import idx, read_idx
from fedpriv.data.sources.npz_format import arrays
from fedpriv.data.sources.split import stratified_split

__all__ = ["arrays", "breast_cancer", "digits", "idx", "mnist5k", "read_idx", "stratified_split"]
