"""Scores by part: each against its own non-members."""

import numpy as np

from fedpriv.attacks.scoring.parts import auc_by_part


def test_a_part_that_leaks_is_told_from_one_that_does_not_though_both_have_the_same_levels():
    members = np.arange(400) % 2 == 0
    leaking = np.arange(400) < 200
    scores = np.where(leaking, 5.0, 0.0) + np.where(leaking & members, 1.0, 0.0) + np.arange(400) // 2 % 100 / 1000
    found = auc_by_part(scores, members, {"a": leaking, "b": ~leaking}, confidence=0.95)
    assert (found["a"]["auc"], found["b"]["auc"]) == (1.0, 0.5)
    assert found["b"]["auc_interval"][0] < 0.5 < found["b"]["auc_interval"][1]
    assert (found["a"]["members"], found["a"]["non_members"]) == (100, 100)


def test_nothing_is_told_of_nine_members():
    members, few = np.arange(100) < 50, np.arange(100) >= 41
    found = auc_by_part(np.zeros(100), members, {"few": few}, confidence=0.95)["few"]
    assert found == {"auc": None, "auc_interval": None, "members": 9, "non_members": 50}
