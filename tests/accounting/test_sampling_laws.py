"""What may be said of a cohort's law, and what is refused with a mend."""

import pytest

from fedpriv.accounting.sampling import cohort_sampling
from fedpriv.errors import ConfigError


def law(kind, *, population=100, cohort=None, separation=None, cap=None):
    return cohort_sampling(kind=kind, population=population, cohort=cohort, separation=separation, cap=cap)


def test_what_is_left_out_follows():
    assert law("all").cohort == 100
    assert law("poisson").rate == 1
    assert law("round_robin", cohort=20).separation == 5
    assert law("round_robin", separation=8).cohort == 12.5
    assert law("cyclic_poisson", cohort=5, separation=5).rate == 0.25
    assert law("capped_poisson", cohort=5, cap=10).release(1.0).cohort == 10


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ({"kind": "capped_poisson", "cohort": 5}, "sampling.cap=N"),
        ({"kind": "poisson", "cohort": 5, "cap": 9}, "Drop it"),
        ({"kind": "fixed_size", "cohort": 5, "separation": 2}, "drop it"),
        ({"kind": "cyclic_poisson", "cohort": 5}, "sampling.separation=N"),
        ({"kind": "round_robin"}, "sampling.separation=N"),
        ({"kind": "round_robin", "cohort": 30}, "sampling.separation=N"),
        ({"kind": "round_robin", "cohort": 30, "separation": 2}, "drop the cohort"),
        ({"kind": "cyclic_poisson", "cohort": 30, "separation": 5}, "smaller cohort"),
        ({"kind": "poisson", "cohort": 101}, "smaller cohort"),
        ({"kind": "all", "cohort": 50}, "drop the cohort"),
        ({"kind": "fixed_size", "cohort": 2.5}, "whole sampling.cohort"),
        ({"kind": "round_robin", "separation": 101}, "between 1 and the population"),
        ({"kind": "lottery"}, "use one of"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_mend(said, mend):
    with pytest.raises(ConfigError, match=mend):
        law(**said)
