"""Which processes train."""

from .pools import PoolKind
from .workers import LocalWorkers


def pool_kind(*, runtime: str, workers: int | None, threads: int) -> PoolKind | None:
    """None: this process, or not known yet.

    Args:
        runtime: inprocess or ray.
        workers: how many; None: not known yet.
        threads: of each.
    """
    if workers is None:
        return None
    if runtime == "ray":
        from .ray import RayActors

        return RayActors.here(workers=workers, threads=threads)
    return None if workers == 1 else LocalWorkers(workers=workers)
