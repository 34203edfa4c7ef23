"""Adaptive clipping: the norm goes where it is said to go."""

import numpy as np

from ..stage import COARSE, Stage, along
from ..subject import AdaptsClipping, Subject
from ..verdict import Finding, judged, not_applicable

ROUNDS = 120
_LAST = 30
_OFF = 0.2  # of the quantile: noisy counts, steps of the rule


def adaptive_clip(subject: Subject) -> Finding:
    """From ten times too large and ten times too small, it comes to the target quantile of the updates' norms."""
    claim = subject.claim
    if claim.target_quantile is None:
        return not_applicable("the clipping norm is fixed")
    if not isinstance(subject, AdaptsClipping):
        return not_applicable("it does not show its clipping norm")
    stage = Stage(subject=subject, rows=COARSE)
    first = subject.clipping_norms(_script(stage, np.ones(stage.units)), seed=111)[0]
    shown, holds = [], True
    for middle in (first / 10, first * 10):
        norms = middle * np.geomspace(1 / 3, 3, stage.units)
        followed = subject.clipping_norms(_script(stage, norms, rounds=ROUNDS), seed=111)
        last = float(np.exp(np.mean(np.log(np.maximum(followed[-_LAST:], 1e-300)))))
        # norms are evenly spread in the logarithm from a third of the middle to three times it
        reached = float(np.clip(0.5 + np.log(last / middle) / (2 * np.log(3)), 0, 1))
        holds &= abs(reached - claim.target_quantile) <= _OFF
        shown.append(f"from {first:.4g}, with norms about {middle:.4g}, to {last:.4g} (quantile {reached:.2f})")
    return judged(holds, f"in {ROUNDS} rounds {'; '.join(shown)}; claimed quantile {claim.target_quantile:.2f}")


def _script(stage: Stage, norms: np.ndarray, *, rounds: int = 1):  # type: ignore[no-untyped-def]
    from ..subject import Script

    round_ = stage.round([along(float(norm), unit % 3) for unit, norm in enumerate(norms)])
    return Script(start=stage.start, rounds=(round_,) * rounds)
