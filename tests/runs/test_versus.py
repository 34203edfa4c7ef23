import pytest

from fedpriv.runs import Runs
from fedpriv.runs.versus import versus


@pytest.fixture
def side(new_run):
    """Runs over these epsilons and seeds; the value is told by a function of both."""

    def make(epsilons, seeds, value=lambda epsilon, seed: 0.1 * epsilon + 0.01 * seed, **config):
        return Runs(
            tuple(
                new_run({"privacy.epsilon": e, "seed": s, **config}, {"epsilon": e - 0.01}, value(e, s))
                for e in epsilons
                for s in seeds
            ),
            (),
        )

    return make


def test_two_settings_are_compared_whatever_they_differ_in(side):
    found = versus(side([4.0], [0, 1]), side([8.0], [1, 2], rounds=9))
    assert found.config == {"rounds": ((3,), (9,)), "privacy.epsilon": ((4.0,), (8.0,))}
    (pairing,) = found.pairings
    assert (pairing.label, pairing.p_holm) == ("", None)
    assert pairing.difference.interval.n == 1
    assert pairing.difference.interval.mean == pytest.approx(0.4)  # B - A at the seed 1


def test_sweeps_are_paired_by_what_both_sweep(side):
    better = lambda epsilon, seed: 0.1 * epsilon + 0.02 * seed + 0.05  # noqa: E731
    found = versus(side([2.0, 4.0, 8.0], [0, 1, 2]), side([8.0, 2.0], [0, 1, 2], better, **{"model._target_": "mlp"}))
    rows = {p.label: p for p in found.pairings}
    assert list(rows) == ["privacy.epsilon=2", "privacy.epsilon=4", "privacy.epsilon=8"]
    assert rows["privacy.epsilon=4"].b is None
    assert rows["privacy.epsilon=4"].difference is None
    for label in ("privacy.epsilon=2", "privacy.epsilon=8"):
        pairing = rows[label]
        assert pairing.difference.interval.mean == pytest.approx(0.06)
        assert pairing.p_holm == pytest.approx(2 * pairing.difference.p_value)
    assert found.config["model._target_"] == (("fedpriv.models.logistic",), ("mlp",))


def test_a_run_is_found_again_in_a_sweep(side):
    found = versus(side([4.0], [0]), side([2.0, 4.0], [0]))
    assert [(p.a is None, p.b is None) for p in found.pairings] == [(True, False), (False, False)]


def test_unlike_metrics_have_no_difference(side, new_run):
    extra = {"task": {"headline": "test_loss", "higher_is_better": False}}
    found = versus(side([4.0], [0]), Runs((new_run(extra=extra),), ()))
    assert found.pairings[0].difference is None
    assert any(warning.startswith("metric differs") for warning in found.warnings)
