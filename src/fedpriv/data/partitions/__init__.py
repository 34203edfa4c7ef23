"""Partitions: which client holds which training example.

Each is a function that takes what it asks for by name among ``labels`` (strata ids, int, shape (n,)), ``users`` (int,
shape (n,), or None), ``num_classes`` (the number of strata), ``dataset`` (the whole ``Dataset``) and a generator
``rng``, and the keys of its file in conf/partition/: ``num_clients``, ``min_examples`` (the least that a client may
hold; 0 allows empty clients) and its own. It returns a client id per training example, int64, shape (n,), -1 where
nobody holds it, or a ``Partition`` if it also changes what clients see.

These are numpy, not a library's: the partitioners of flwr-datasets loop over clients in Python, give up on
minimum sizes after a few draws, take a seed instead of a generator, and need the Hugging Face stack. ``flower`` adapts
them where they do something that these don't.
"""

from fedpriv.data.partitions.by_user import natural
from fedpriv.data.partitions.even import iid, pooled
from fedpriv.data.partitions.feature_skew import rotations
from fedpriv.data.partitions.flower_adapter import flower
from fedpriv.data.partitions.label_skew import dirichlet, shards
from fedpriv.data.partitions.quantity_skew import quantity

__all__ = ["dirichlet", "flower", "iid", "natural", "pooled", "quantity", "rotations", "shards"]
