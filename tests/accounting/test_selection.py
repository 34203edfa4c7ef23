import math

import pytest
from dp_accounting import DpEventBuilder, NeighboringRelation
from dp_accounting.dp_event import RepeatAndSelectDpEvent
from dp_accounting.rdp import RdpAccountant

from fedpriv.accounting.accountants import epsilon
from fedpriv.accounting.renyi import FAST_ORDERS
from fedpriv.accounting.sampled_gaussian import SampledGaussian
from fedpriv.accounting.selection import all_together, repeat_and_select

RELATION = "add_or_remove_one"


def poisson(noise_multiplier, rate, times):
    kind = "poisson" if rate < 1 else "all"
    release = SampledGaussian(noise_multiplier=noise_multiplier, sampling=kind, rate=rate, population=0, cohort=0)
    return {release: times}


def by_the_librarys_event(composition, *, mean, delta):
    builder = DpEventBuilder()
    for release, times in composition.items():
        builder.compose(release.event(RELATION), times)
    accountant = RdpAccountant(orders=FAST_ORDERS, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(RepeatAndSelectDpEvent(builder.build(), mean=mean, shape=math.inf))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize("mean", [1, 3, 40])
@pytest.mark.parametrize("composition", [poisson(3.0, 0.05, 300), poisson(4.0, 1.0, 10)], ids=["sampled", "all"])
def test_one_setting_costs_what_the_librarys_event_says(composition, mean):
    found = repeat_and_select([[composition]] * 3, repetitions=mean, delta=1e-5, relation=RELATION)
    assert found.value == pytest.approx(by_the_librarys_event(composition, mean=mean, delta=1e-5), rel=0.01)


def test_unlike_settings_cost_at_least_the_worst_of_them():
    low, high = poisson(1.2, 0.05, 100), poisson(2.0, 0.5, 100)
    bounds = [
        repeat_and_select(tries, repetitions=5, delta=1e-5, relation=RELATION).value
        for tries in ([[low]], [[high]], [[low], [high]])
    ]
    assert bounds[2] >= max(bounds[:2])
    apart = repeat_and_select([[low, high]], repetitions=5, delta=1e-5, relation=RELATION)
    assert apart.value == pytest.approx(bounds[2])  # two participants of one try, or one of each of two


def test_selection_costs_more_than_one_run_and_grows_with_the_tries():
    one = epsilon(poisson(1.2, 0.1, 200), delta=1e-5, relation=RELATION, accountant="rdp").value
    tries = [[poisson(1.2, 0.1, 200)]]
    found = [repeat_and_select(tries, repetitions=k, delta=1e-5, relation=RELATION).value for k in (2, 10, 100)]
    assert one < found[0] < found[1] < found[2]


def test_all_together_cost_their_composition():
    tries = [[poisson(1.2, 0.1, 100)], [poisson(1.2, 0.1, 50)]]
    whole = epsilon(poisson(1.2, 0.1, 150), delta=1e-5, relation=RELATION, accountant="rdp").value
    assert all_together(tries, delta=1e-5, relation=RELATION).value == pytest.approx(whole, rel=0.02)


def test_what_has_no_noise_has_no_bound():
    tries = [[poisson(1.2, 0.1, 100)], [poisson(0.0, 0.1, 1)]]
    assert all_together(tries, delta=1e-5, relation=RELATION) is None
    assert repeat_and_select(tries, repetitions=2, delta=1e-5, relation=RELATION) is None
