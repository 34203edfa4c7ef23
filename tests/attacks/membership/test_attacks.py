"""Each attack is its paper's statistic, beats chance where there is something to find, and is at chance where not."""

import numpy as np
import pytest
from scipy import stats

from fedpriv.attacks import ModelObservation, ShadowObservation
from fedpriv.attacks.membership import LiraOffline, LiraOnline, LossThreshold, Rmia
from fedpriv.attacks.membership.lira import logit_confidence
from fedpriv.attacks.scoring import score
from fedpriv.errors import ConfigError

CANDIDATES, MODELS = 2000, 64


def loss_of(confidence: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, -confidence)


def game(
    seed: int, *, shift: float, models: int = MODELS, population: bool = True
) -> tuple[ShadowObservation, np.ndarray]:
    """Candidates of very different hardness; training on one lifts its logit confidence by ``shift``."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(scale=3, size=CANDIDATES)
    half = np.array([rng.permutation(models) < models // 2 for _ in range(CANDIDATES)]).T
    truth = rng.random(CANDIDATES) < 0.5
    shadows = hardness + shift * half + rng.normal(size=(models, CANDIDATES))
    others = rng.normal(scale=3, size=CANDIDATES)
    seen = ShadowObservation(
        losses=loss_of(hardness + shift * truth + rng.normal(size=CANDIDATES)),
        shadow_losses=loss_of(shadows),
        shadow_members=half,
        population_losses=loss_of(others + rng.normal(size=CANDIDATES)) if population else None,
        shadow_population_losses=loss_of(others + rng.normal(size=(models, CANDIDATES))) if population else None,
    )
    return seen, truth


ATTACKS = [
    LiraOnline(shadows=MODELS, variance="fixed"),
    LiraOnline(shadows=MODELS, variance="per_example"),
    LiraOffline(shadows=MODELS, variance="fixed"),
    LiraOffline(shadows=MODELS, variance="per_example"),
    Rmia(shadows=MODELS, gamma=2.0, offline_a=None),
    Rmia(shadows=MODELS, gamma=2.0, offline_a=0.3),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_shadows_find_what_the_loss_alone_does_not(attack):
    seen, truth = game(1, shift=1.5)
    found = score(attack.scores(seen), truth, confidence=0.95)
    alone = score(LossThreshold().scores(ModelObservation(losses=seen.losses)), truth, confidence=0.95)
    assert found.auc_low > alone.auc_high


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_model_that_learnt_nothing_gives_nothing_away(attack):
    seen, truth = game(2, shift=0.0)
    found = score(attack.scores(seen), truth, confidence=0.99)
    assert found.auc_low <= 0.5 <= found.auc_high


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_shuffled_truth_is_not_found(attack):
    seen, truth = game(3, shift=1.5)
    found = score(attack.scores(seen), np.random.default_rng(0).permutation(truth), confidence=0.99)
    assert found.auc_low <= 0.5 <= found.auc_high


def test_lira_online_is_near_the_best_that_there_is():
    seen, truth = game(4, shift=1.5, models=256)
    found = score(LiraOnline(shadows=256, variance="fixed").scores(seen), truth, confidence=0.95)
    # Neyman and Pearson: two normals 1.5 standard deviations apart
    assert found.auc == pytest.approx(stats.norm.cdf(1.5 / np.sqrt(2)), abs=0.02)


def test_lira_is_a_ratio_of_normal_densities():
    confidence = np.array([[1.0, 4.0], [2.0, 5.0], [7.0, 1.0], [9.0, 3.0]])
    inside = np.array([[False, True], [False, True], [True, False], [True, False]])
    seen = ShadowObservation(
        losses=loss_of(np.array([6.0, 2.0])),
        shadow_losses=loss_of(confidence),
        shadow_members=inside,
        population_losses=None,
        shadow_population_losses=None,
    )
    with_it, without = stats.norm([8.0, 4.5], np.sqrt([2.0, 0.5])), stats.norm([1.5, 2.0], np.sqrt([0.5, 2.0]))
    expected = with_it.logpdf([6.0, 2.0]) - without.logpdf([6.0, 2.0])
    assert LiraOnline(shadows=4, variance="per_example").scores(seen) == pytest.approx(expected, rel=1e-6)
    pooled = stats.norm([8.0, 4.5], np.sqrt(1.25)), stats.norm([1.5, 2.0], np.sqrt(1.25))
    expected = pooled[0].logpdf([6.0, 2.0]) - pooled[1].logpdf([6.0, 2.0])
    assert LiraOnline(shadows=4, variance="fixed").scores(seen) == pytest.approx(expected, rel=1e-6)
    expected = (np.array([6.0, 2.0]) - [1.5, 2.0]) / np.sqrt([0.5, 2.0])
    assert LiraOffline(shadows=4, variance="per_example").scores(seen) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("loss", "confidence"), [(np.log(2), 0.0), (-np.log(0.9), np.log(9)), (800.0, -800.0)])
def test_logit_confidence_is_that_of_the_probability(loss, confidence):
    assert logit_confidence(np.array([loss]))[0] == pytest.approx(confidence, abs=1e-9)


def test_logit_confidence_of_no_loss_is_finite():
    assert 30 < logit_confidence(np.zeros(1))[0] < 40


def rmia_by_hand(seen: ShadowObservation, *, gamma: float, a: float | None) -> np.ndarray:
    """Equation 4 pair by pair."""

    def probability(losses, members):
        without = np.mean(np.exp(-losses[~members]))
        if a is not None:
            return ((1 + a) * without + 1 - a) / 2
        return (np.mean(np.exp(-losses[members])) + without) / 2

    n = len(seen.losses)
    ratios = [
        np.exp(-seen.losses[i]) / probability(seen.shadow_losses[:, i], seen.shadow_members[:, i]) for i in range(n)
    ]
    return np.array([np.mean([x / z >= gamma for z in ratios]) for x in ratios])


@pytest.mark.parametrize("a", [None, 0.3])
def test_rmia_counts_pairs(a):
    whole, _ = game(5, shift=1.0, models=8, population=False)
    seen = ShadowObservation(
        losses=whole.losses[:60],
        shadow_losses=whole.shadow_losses[:, :60],
        shadow_members=whole.shadow_members[:, :60],
        population_losses=None,
        shadow_population_losses=None,
    )
    found = Rmia(shadows=8, gamma=1.5, offline_a=a).scores(seen)
    assert found == pytest.approx(rmia_by_hand(seen, gamma=1.5, a=a))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LiraOnline(shadows=3, variance="fixed"), "lira_online.shadows=3 must be even"),
        (lambda: LiraOffline(shadows=2, variance="fixed"), "lira_offline.shadows=2 must be even and at least 4"),
        (lambda: LiraOnline(shadows=8, variance="both"), "variance=both is unknown"),
        (lambda: Rmia(shadows=8, gamma=0.5, offline_a=None), "gamma=0.5 must be at least 1"),
        (lambda: Rmia(shadows=8, gamma=2.0, offline_a=2.0), "offline_a=2.0 must lie"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
