"""A plan of an experiment is what its run states and what `verify` recomputes, to the last bit."""

from pathlib import Path
from typing import Any

import pytest

from fedpriv.accounting.printed import upwards
from fedpriv.config import compose
from fedpriv.errors import BudgetExhaustedError, ConfigError
from fedpriv.experiment.planning import plan_run
from fedpriv.verification import verify


def planned(*overrides: str) -> dict[str, Any]:
    return plan_run(compose(["experiment=digits_smoke", "evaluation.clients=false", *overrides], config_dir=None))


CENTRAL = ("privacy=central", "privacy.epsilon=3", "rounds=4")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("privacy.epsilon=5",),
        ("sampling.cohort=3", "privacy.noise_multiplier=1", "privacy.epsilon=null"),
        ("privacy.calibration=shared", "sampling.cohort=2", "privacy.accountant=rdp"),
        (*CENTRAL, "sampling=poisson", "sampling.cohort=3"),
        (*CENTRAL, "sampling=capped_poisson", "sampling.cohort=3", "sampling.cap=4"),
        (*CENTRAL, "sampling=fixed_size", "sampling.cohort=3"),
        (*CENTRAL, "sampling=all"),
        (*CENTRAL, "sampling=round_robin", "sampling.separation=3"),
        (*CENTRAL, "sampling=cyclic_poisson", "sampling.separation=2", "sampling.cohort=2"),
        # the budget ends it early
        ("privacy=central", "privacy.epsilon=1", "privacy.noise_multiplier=2", "sampling=all", "rounds=6"),
    ],
    ids=" ".join,
)
def test_plan_run_and_verify_agree(overrides: tuple[str, ...], run_digits: Any) -> None:
    plan = planned(*overrides)
    ran = run_digits(*overrides)
    stated = ran.record.guarantee
    assert plan["epsilon"] == stated["epsilon"]
    assert plan["delta"] == stated["delta"]
    assert plan["noise_multiplier"] == stated["noise_multiplier_min"]
    assert plan["noise_multiplier_max"] == stated["noise_multiplier_max"]
    assert plan["worst_client"] == stated["worst_client"]
    assert plan["rounds"] == ran.record.rounds
    assert plan["stops_early"] == (ran.record.status == "stopped_at_budget")
    verdict = verify(Path(ran.folder))
    assert verdict.holds
    assert f"epsilon {upwards(plan['epsilon'], 7)} " in verdict.lines[-1]


def test_what_ends_early_says_when_and_what_to_do() -> None:
    plan = planned("privacy=central", "privacy.epsilon=1", "privacy.noise_multiplier=2", "sampling=all", "rounds=6")
    assert 1 <= plan["rounds"] < plan["rounds_asked"] == 6
    assert f"after round {plan['rounds']} of 6" in plan["notes"][0]


def test_no_claim_is_planned_where_none_is_made() -> None:
    assert planned("privacy=none")["epsilon"] is None
    clipped = planned("privacy=central", "privacy.epsilon=inf", "sampling=all")
    assert clipped["epsilon"] is None
    assert "no guarantee" in clipped["notes"][0]


def test_a_budget_for_nothing_and_a_mismatch_are_refused() -> None:
    with pytest.raises(BudgetExhaustedError, match="not allow even one round"):
        planned("privacy=central", "privacy.epsilon=0.1", "privacy.noise_multiplier=1", "sampling=all")
    with pytest.raises(ConfigError, match=r"privacy\.accountant=rdp"):
        planned(*CENTRAL, "sampling=capped_poisson", "sampling.cohort=2", "sampling.cap=3", "privacy.accountant=rdp")
