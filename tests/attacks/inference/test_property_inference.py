"""The attack on updates that are made up, so that what can be known of the property is known."""

import numpy as np
import pytest
import torch

from fedpriv.attacks.inference import PropertyInference, PropertyRound
from fedpriv.errors import ConfigError

GIVEN = {
    "sees": "updates",
    "label": 3,
    "group": None,
    "threshold": 0.2,
    "shadows": 100,
    "rounds": 2,
    "components": 8,
}


def seen(strength: float, *, scale: float = 1.0) -> tuple[PropertyRound, np.ndarray]:
    """A direction that the property adds to noise of length about 1."""
    rng = np.random.default_rng(7)
    direction = rng.standard_normal(500)
    direction /= np.linalg.norm(direction)
    having = np.arange(300) % 2 == 0
    updates = rng.standard_normal((300, 500)) / np.sqrt(500) + strength * having[:, None] * direction
    rows = torch.from_numpy(updates)
    return PropertyRound(updates=scale * rows[100:], shadow_updates=rows[:100], shadow_has=having[None, :100]), having[
        100:
    ]


def test_a_property_that_turns_updates_is_found():
    view, truth = seen(2.0)
    assert ((PropertyInference(**GIVEN).log_odds(view)[0] > 0) == truth).mean() > 0.95


def test_nothing_is_found_where_there_is_nothing():
    view, truth = seen(0.0)
    right = ((PropertyInference(**GIVEN).log_odds(view)[0] > 0) == truth).mean()
    assert abs(right - 0.5) < 3 * 0.5 / np.sqrt(len(truth))


def test_each_answer_is_learned_by_itself():
    view, _ = seen(2.0)
    both = PropertyRound(
        updates=view.updates,
        shadow_updates=view.shadow_updates,
        shadow_has=np.concatenate([view.shadow_has, ~view.shadow_has]),
    )
    found = PropertyInference(**GIVEN).log_odds(both)
    np.testing.assert_array_equal(found[0], PropertyInference(**GIVEN).log_odds(view)[0])
    np.testing.assert_allclose(found[1], -found[0], atol=1e-3)


def test_a_public_factor_of_the_updates_changes_nothing():
    attack = PropertyInference(**GIVEN)
    np.testing.assert_allclose(attack.log_odds(seen(1.0)[0]), attack.log_odds(seen(1.0, scale=1024.0)[0]), rtol=1e-9)


def test_an_update_that_is_no_number_gets_a_guess():
    view, _ = seen(1.0)
    view.updates[0] = torch.nan
    assert np.isfinite(PropertyInference(**GIVEN).log_odds(view)).all()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"sees": "sums"}, r"sees=sums.*its own update.*sees=updates"),
        ({"sees": "final_model"}, r"sees=final_model.*its own update"),
        ({"label": None}, "needs one property"),
        ({"group": {"sex": "Female"}}, "needs one property"),
        ({"label": None, "group": {"sex": "Female", "race": "Other"}}, "one attribute and one of its groups"),
        ({"threshold": 0.0}, "threshold=0.0 must be a share"),
        ({"threshold": 1.5}, "threshold=1.5 must be a share"),
        ({"shadows": 10}, "shadows=10 must be at least 20"),
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"components": 100}, "components=100 must be at least 1, and fewer than the shadows"),
    ],
)
def test_keys_out_of_range_are_refused(own, message):
    with pytest.raises(ConfigError, match=message):
        PropertyInference(**GIVEN | own)
