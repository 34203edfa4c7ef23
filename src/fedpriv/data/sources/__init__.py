"""Loaders: each is a function that returns a ``Dataset``, chosen by ``_target_`` in conf/data/.

A loader of your own is any function ``(*, rng: np.random.Generator, ...) -> Dataset``.
"""

from fedpriv.data.sources.embedded import breast_cancer, digits, mnist5k
from fedpriv.data.sources.hugging_face import huggingface
from fedpriv.data.sources.idx_format import idx, read_idx
from fedpriv.data.sources.image_folders import images
from fedpriv.data.sources.image_sheets import sheets
from fedpriv.data.sources.npz_format import arrays
from fedpriv.data.sources.play_text import characters
from fedpriv.data.sources.rare_class import mnist5k_rare
from fedpriv.data.sources.sensor_windows import windows
from fedpriv.data.sources.split import stratified_split
from fedpriv.data.sources.table import table

__all__ = [
    "arrays",
    "breast_cancer",
    "characters",
    "digits",
    "huggingface",
    "idx",
    "images",
    "mnist5k",
    "mnist5k_rare",
    "read_idx",
    "sheets",
    "stratified_split",
    "table",
    "windows",
]
