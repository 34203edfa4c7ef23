import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data import Dataset, Examples, partitions
from fedpriv.data.partitions.proportions import repair
from fedpriv.errors import ConfigError

LABELS = np.random.default_rng(0).integers(0, 10, 4000)


def partition(
    kind, *, labels=LABELS, users=None, num_classes=10, num_clients=10, seed=0, min_examples=1, **own
):
    return getattr(partitions, kind)(
        labels=labels,
        users=users,
        num_classes=num_classes,
        num_clients=num_clients,
        rng=np.random.default_rng(seed),
        min_examples=min_examples,
        **own,
    )


OWN = {"iid": {}, "dirichlet": {"alpha": 0.5}, "shards": {"shards_per_client": 2}}


@pytest.mark.parametrize("kind", OWN)
def test_every_example_is_held_by_one_client_and_the_seed_decides(kind):
    assignment = partition(kind, **OWN[kind])
    assert assignment.dtype == np.int64
    assert assignment.shape == LABELS.shape
    assert np.unique(assignment).tolist() == list(range(10))
    assert np.array_equal(assignment, partition(kind, **OWN[kind]))
    assert not np.array_equal(assignment, partition(kind, seed=1, **OWN[kind]))


@pytest.mark.parametrize("kind", OWN)
def test_more_clients_than_examples_is_an_error(kind):
    with pytest.raises(ConfigError, match=r"num_clients=5000 is more than the 4000 training examples"):
        partition(kind, num_clients=5000, **OWN[kind])


@pytest.mark.parametrize("kind", OWN)
def test_minimum_sizes_that_cannot_be_met_are_an_error(kind):
    with pytest.raises(ConfigError, match=r"lower partition.num_clients or partition.min_examples"):
        partition(kind, min_examples=401, **OWN[kind])


@pytest.mark.parametrize("kind", OWN)
def test_no_clients_is_an_error(kind):
    with pytest.raises(ConfigError, match=r"partition.num_clients is 0"):
        partition(kind, num_clients=0, **OWN[kind])


def test_iid_sizes_differ_by_at_most_one():
    sizes = np.bincount(partition("iid", num_clients=7))
    assert sizes.max() - sizes.min() <= 1


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 60), st.integers(0, 8), st.floats(0.01, 100), st.integers(1, 400), st.integers(0, 2**32)
)
def test_dirichlet_honours_minimum_sizes_whenever_there_are_enough_examples(k, least, alpha, n, seed):
    labels = np.random.default_rng(seed).integers(0, 4, n)
    arguments = {
        "labels": labels,
        "num_classes": 4,
        "num_clients": k,
        "min_examples": least,
        "seed": seed,
        "alpha": alpha,
    }
    if k > n or k * least > n:
        with pytest.raises(ConfigError):
            partition("dirichlet", **arguments)
        return
    sizes = np.bincount(partition("dirichlet", **arguments), minlength=k)
    assert len(sizes) == k
    assert sizes.sum() == n
    assert sizes.min() >= least


def test_dirichlet_shares_have_the_variance_of_the_distribution():
    # A client's share of a class is Beta(alpha, (K - 1) alpha), of variance (K - 1) / (K^2 (K alpha + 1)).
    alpha, k = 0.5, 5
    shares = []
    for seed in range(150):
        assignment = partition("dirichlet", num_clients=k, alpha=alpha, seed=seed, min_examples=0)
        counts = np.bincount(LABELS * k + assignment, minlength=10 * k).reshape(10, k)
        shares.append(counts / counts.sum(axis=1, keepdims=True))
    assert np.var(shares) == pytest.approx((k - 1) / (k**2 * (k * alpha + 1)), rel=0.06)


def test_large_alpha_comes_near_equal_shares():
    assignment = partition("dirichlet", alpha=1e6)
    counts = np.stack([np.bincount(LABELS[assignment == k], minlength=10) for k in range(10)])
    assert np.abs(counts - np.bincount(LABELS) / 10).max() <= 2


def test_repair_leaves_clients_that_are_large_enough_but_not_largest_alone():
    assignment = np.repeat([0, 1, 2, 3], [100, 50, 10, 0])
    repaired = repair(assignment, 4, 20, np.random.default_rng(0))
    assert np.bincount(repaired).tolist() == [70, 50, 20, 20]
    assert (repaired[assignment != 0] == assignment[assignment != 0]).all()


def test_dirichlet_is_fast_for_ten_thousand_clients():
    labels = np.random.default_rng(0).integers(0, 10, 60_000)
    started = time.process_time()
    sizes = np.bincount(partition("dirichlet", labels=labels, num_clients=10_000, min_examples=3, alpha=0.5))
    assert time.process_time() - started < 2
    assert len(sizes) == 10_000
    assert sizes.min() == 3


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(ConfigError, match=r"partition.alpha"):
        partition("dirichlet", alpha=alpha)


def test_shards_give_each_client_few_labels_and_equal_sizes():
    # McMahan et al. 2017, section 3: 60,000 examples, 100 clients, two shards of 300 each.
    labels = np.repeat(np.arange(10), 6000)
    assignment = partition("shards", labels=labels, num_clients=100, shards_per_client=2)
    assert set(np.bincount(assignment)) == {600}
    assert max(len(np.unique(labels[assignment == k])) for k in range(100)) <= 2


def test_shards_need_an_example_each():
    with pytest.raises(ConfigError, match="need 4400"):
        partition("shards", num_clients=400, shards_per_client=11)
    with pytest.raises(ConfigError, match="shards_per_client is 0"):
        partition("shards", shards_per_client=0)


USERS = np.array([7, -3, 7, 7, 900, -3, 5])


def test_natural_clients_are_the_users_in_ascending_order():
    assignment = partition("natural", labels=np.zeros(7, int), users=USERS, num_clients=None)
    assert assignment.tolist() == [2, 0, 2, 2, 3, 0, 1]


def test_natural_drops_users_with_too_few_examples():
    assignment = partition("natural", labels=np.zeros(7, int), users=USERS, num_clients=None, min_examples=2)
    assert assignment.tolist() == [1, 0, 1, 1, -1, 0, -1]


def test_natural_subsets_of_one_seed_are_nested():
    users = np.arange(200) % 50
    chosen = [
        set(users[partition("natural", labels=users, users=users, num_clients=k) >= 0]) for k in (5, 20, 50)
    ]
    assert [len(c) for c in chosen] == [5, 20, 50]
    assert chosen[0] < chosen[1] < chosen[2]
    assert chosen[0] != set(range(5))


def test_natural_without_users_names_the_key():
    with pytest.raises(ConfigError, match=r"data\.user"):
        partition("natural", num_clients=None)


def test_natural_with_more_clients_than_users_is_an_error():
    with pytest.raises(ConfigError, match=r"2 of 4 users hold at least 2 examples.*asks for 3"):
        partition("natural", labels=np.zeros(7, int), users=USERS, num_clients=3, min_examples=2)


# Quantity


def partition_of(kind, *, labels=LABELS, num_clients=10, seed=0, min_examples=1, **own):
    rng = np.random.default_rng(seed)
    return getattr(partitions, kind)(
        labels=labels, num_clients=num_clients, rng=rng, min_examples=min_examples, **own
    )


def test_quantity_is_skewed_in_sizes_but_not_in_labels():
    assignment = partition_of("quantity", num_clients=4, alpha=0.5, min_examples=100)
    sizes = np.bincount(assignment)
    assert sizes.sum() == 4000
    assert sizes.min() >= 100
    assert sizes.max() > 2 * sizes.min()
    overall = np.bincount(LABELS) / 4000
    for k in range(4):
        mine = LABELS[assignment == k]
        expected = overall * len(mine)
        assert ((np.bincount(mine, minlength=10) - expected) ** 2 / expected).sum() < 27.9  # chi2(9), p = 0.001


def test_quantity_sizes_have_the_variance_of_the_distribution():
    # A client's share is Beta(alpha, (K - 1) alpha), of variance (K - 1) / (K^2 (K alpha + 1)).
    alpha, k = 0.5, 5
    shares = [
        np.bincount(partition_of("quantity", num_clients=k, alpha=alpha, seed=s, min_examples=0), minlength=k) / 4000
        for s in range(1000)
    ]
    assert np.var(shares) == pytest.approx((k - 1) / (k**2 * (k * alpha + 1)), rel=0.06)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 6), st.floats(0.01, 100), st.integers(240, 400))
def test_quantity_honours_minimum_sizes(k, least, alpha, n):
    assignment = partition_of("quantity", labels=np.zeros(n, int), num_clients=k, alpha=alpha, min_examples=least)
    assert np.bincount(assignment, minlength=k).min() >= least


def test_quantity_refuses_an_impossible_alpha():
    with pytest.raises(ConfigError, match=r"partition\.alpha is 0\.0"):
        partition_of("quantity", alpha=0.0)


# Rotations


def images(n=40, shape=(3, 4, 4), test=10):
    x = np.random.default_rng(1).integers(0, 256, (n + test, *shape)).astype(np.uint8)
    y = np.arange(n + test) % 2
    return Dataset(train=Examples(x[:n], y[:n]), test=Examples(x[n:], y[n:]), num_classes=2)


def rotate(dataset, **changes):
    arguments = {"num_clients": 6, "turns": 4, "min_examples": 1, "rng": np.random.default_rng(0)}
    return partitions.rotations(dataset=dataset, **(arguments | changes))


def test_rotations_turn_every_client_by_its_own_angle():
    dataset = images()
    before = dataset.train.x.copy()
    made = rotate(dataset)
    assert np.bincount(made.assignment).tolist() == [7, 7, 7, 7, 6, 6]
    for row, client in enumerate(made.assignment):
        for channel in range(3):
            expected = np.rot90(before[row, channel], client % 4)
            np.testing.assert_array_equal(made.dataset.train.x[row, channel], expected)
    np.testing.assert_array_equal(dataset.train.x, before)
    assert made.dataset.train.y is dataset.train.y


def test_rotated_test_images_are_equal_shares_and_a_group():
    dataset = images(test=8)
    made = rotate(dataset).dataset
    angle = made.groups["rotation"]
    assert angle[:40].tolist() == (rotate(dataset).assignment % 4).tolist()
    assert np.bincount(angle[40:]).tolist() == [2, 2, 2, 2]
    for row, turns in enumerate(angle[40:]):
        np.testing.assert_array_equal(made.test.x[row], np.rot90(dataset.test.x[row], turns, axes=(1, 2)))


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((3, 4, 5), {}, r"square images .* have shape \(3, 4, 5\)"),
        ((9,), {}, r"square images .* have shape \(9,\)"),
        ((1, 4, 4), {"turns": 5}, r"partition\.turns is 5"),
        ((1, 4, 4), {"turns": 0}, r"partition\.turns is 0"),
        ((1, 4, 4), {"num_clients": 41}, r"more than the 40 training examples"),
    ],
)
def test_rotations_that_cannot_be_are_refused(shape, changes, message):
    with pytest.raises(ConfigError, match=message):
        rotate(images(shape=shape), **changes)


# flwr-datasets

LIBRARY = "flwr_datasets.partitioner"


def flower(kind, /, *, users=None, num_clients=5, seed=0, target=LIBRARY, **own):
    pytest.importorskip("flwr_datasets")
    return partitions.flower(
        labels=LABELS,
        users=users,
        num_clients=num_clients,
        rng=np.random.default_rng(seed),
        min_examples=0,
        partitioner={"_target_": f"{target}.{kind}", **own},
    )


@pytest.mark.slow
def test_flowers_pathological_partitioner_gives_few_labels_by_our_seed():
    own = {"partition_by": "label", "num_classes_per_partition": 2, "class_assignment_mode": "first-deterministic"}
    assignment = flower("PathologicalPartitioner", num_clients=10, **own)
    assert np.unique(assignment).tolist() == list(range(10))
    assert [len(np.unique(LABELS[assignment == k])) for k in range(10)] == [2] * 10
    assert np.array_equal(assignment, flower("PathologicalPartitioner", num_clients=10, **own))
    assert not np.array_equal(
        flower("DirichletPartitioner", seed=0, partition_by="label", alpha=1.0),
        flower("DirichletPartitioner", seed=1, partition_by="label", alpha=1.0),
    )


@pytest.mark.filterwarnings("ignore:The sum of partition sizes")
def test_flowers_partitioners_leave_some_to_nobody():
    assignment = flower("SizePartitioner", num_clients=None, partition_sizes=[10, 20])
    assert [np.count_nonzero(assignment == k) for k in (-1, 0, 1)] == [3970, 10, 20]


def test_flowers_natural_partitioner_finds_the_users_and_prints_nothing(capfd):
    users = np.arange(4000) % 7
    assignment = flower("NaturalIdPartitioner", users=users, num_clients=None, partition_by="user")
    assert len({(user, client) for user, client in zip(users, assignment, strict=True)}) == 7
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("IidPartitioner", {"target": "my.own"}, r"_target_=my\.own\.IidPartitioner is no partitioner"),
        ("Partitioner", {}, r"is no partitioner"),
        ("NaturalIdPartitioner", {"partition_by": "user"}, r"sees the columns index, label\."),
        ("IidPartitioner", {"alpha": 1}, r"IidPartitioner: .*alpha"),
        ("SizePartitioner", {"partition_sizes": [9, 9]}, r"makes 2 clients, but partition\.num_clients is 5"),
        ("SizePartitioner", {"partition_sizes": [9000], "num_clients": None}, r"cannot divide this data"),
    ],
)
@pytest.mark.filterwarnings("ignore:The sum of partition sizes")
def test_flowers_refusals_are_ours(kind, changes, message):
    with pytest.raises(ConfigError, match=message):
        flower(kind, **changes)


def test_without_flwr_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr_datasets.partitioner", None)
    with pytest.raises(ConfigError, match=r"pip install 'fedpriv\[huggingface\]'"):
        partitions.flower(
            labels=LABELS, users=None, num_clients=2, rng=np.random.default_rng(0), min_examples=0, partitioner={}
        )
