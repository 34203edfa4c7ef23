"""From right guesses to lower bounds on epsilon; numbers only."""

from .f_dp import contradicted, f_dp_epsilon, f_dp_mu
from .guesses import Guesses
from .one_run import one_run_epsilon
from .one_shot import one_shot_estimate
from .repeated import repeated_epsilon, repeated_mu

__all__ = [
    "Guesses",
    "contradicted",
    "f_dp_epsilon",
    "f_dp_mu",
    "one_run_epsilon",
    "one_shot_estimate",
    "repeated_epsilon",
    "repeated_mu",
]
