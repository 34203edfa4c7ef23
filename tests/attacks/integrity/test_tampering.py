"""What attackers do to examples and updates, and how their success is counted."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.attacks.integrity import Backdoor, Boosted, Facts, LabelFlip, SignFlip, TamperingTrainer, outcome
from fedpriv.errors import ConfigError
from fedpriv.streams import Streams, seed_key
from fedpriv.training import ClientResult, ClientWork

BRIGHT = torch.tensor([2.5, -1.0]).reshape(2, 1, 1)
IMAGES = Facts(num_classes=10, input_shape=(2, 6, 5), brightest=BRIGHT)
VECTORS = Facts(num_classes=3, input_shape=(6,), brightest=None)


def backdoor(**given):
    return Backdoor(**{"attackers": 1, "target": 0, "poisoned": 0.5, "size": 2, "boost": 1.0, **given})


def flip(**given):
    return LabelFlip(**{"attackers": 1, "source": 1, "target": 2, "boost": 1.0, **given})


def examples(n, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, 2, 6, 5)).astype(np.float32)), torch.from_numpy(rng.integers(0, 10, n))


@given(n=st.integers(0, 30), poisoned=st.floats(0.01, 1), size=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_share_of_an_attackers_examples_bears_pattern_and_label_and_the_others_are_as_they_were(
    n, poisoned, size, seed
):
    x, y = examples(n, seed)
    before = x.clone(), y.clone()
    tampering = backdoor(poisoned=poisoned, size=size, target=3)
    new_x, new_y = tampering.examples(x, y, facts=IMAGES, rng=np.random.default_rng(seed))
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    changed = (new_x != x).flatten(1).any(dim=1)
    assert torch.equal(changed, torch.from_numpy(np.random.default_rng(seed).random(n) < poisoned))
    assert torch.equal(new_y, torch.where(changed, 3, y))
    corner = new_x[changed][:, :, -size:, -size:]
    assert torch.equal(corner, BRIGHT.expand(corner.shape))
    rest = torch.ones(6, 5, dtype=torch.bool)
    rest[-size:, -size:] = False
    assert torch.equal(new_x[..., rest], x[..., rest])


@pytest.mark.parametrize("tampering", [backdoor(), flip()], ids=["backdoor", "label_flip"])
def test_one_example_more_changes_no_other(tampering):
    """Local steps that protect an example of an attacker rely on it."""
    x, y = examples(20)
    made = [tampering.examples(x[:n], y[:n], facts=IMAGES, rng=np.random.default_rng(3)) for n in (19, 20)]
    assert torch.equal(made[0][0], made[1][0][:19])
    assert torch.equal(made[0][1], made[1][1][:19])


def test_labels_of_the_source_are_flipped_and_no_others():
    x, y = torch.zeros(5, 6), torch.tensor([0, 1, 2, 1, 0])
    same, flipped = flip().examples(x, y, facts=VECTORS, rng=np.random.default_rng(0))
    assert torch.equal(same, x)
    assert flipped.tolist() == [0, 2, 2, 2, 0]
    assert y.tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize(
    ("attackers", "population", "count"),
    [(0, 10, 0), (0.0, 10, 0), (1, 10, 1), (1.0, 10, 10), (0.2, 10, 2), (0.21, 10, 3), (0.07, 100, 7), (10, 10, 10)],
)
def test_attackers_are_a_number_or_a_share_rounded_up(attackers, population, count):
    assert flip(attackers=attackers).count(population) == count


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flip(attackers=-1), "attackers=-1"),
        (lambda: flip(attackers=1.5), "attackers=1.5"),
        (lambda: flip(attackers=math.inf), "attackers=inf"),
        (lambda: flip(attackers=11).count(10), "more than the 10 clients"),
        (lambda: flip(target=1), "one label"),
        (lambda: flip(source=3).check(VECTORS), "source=3 is no label"),
        (lambda: flip(boost=0.0), "boost=0.0"),
        (lambda: backdoor(target=10).check(IMAGES), "target=10 is no label"),
        (lambda: backdoor(poisoned=0.0), "poisoned=0.0"),
        (lambda: backdoor(size=0), "size=0"),
        (lambda: backdoor(size=5).check(IMAGES), "covers images"),
        (lambda: backdoor().check(VECTORS), "no images"),
        (lambda: SignFlip(attackers=1, scale=-1.0), "scale=-1.0"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("tampering", "factor"),
    [
        (flip(), 1.0),
        (flip(boost="replace"), 7.0),
        (backdoor(boost=3), 3.0),
        (Boosted(attackers=1, boost=10.0), 10.0),
        (SignFlip(attackers=1, scale=2.0), -2.0),
    ],
)
def test_updates_are_multiplied(tampering, factor):
    assert tampering.factor(replacing=7.0) == factor


class Echo:
    """A trainer that sends what it read; client 9 fails."""

    def train(self, start, work):
        for item in work:
            x, y = item.examples()
            update = None if item.client_id == 9 else torch.cat([x.flatten(), y.double()])
            failure = "no" if item.client_id == 9 else None
            yield ClientResult(client_id=item.client_id, update=update, failure=failure)


def work(client):
    return ClientWork(
        client_id=client,
        examples=lambda: (torch.full((2, 1), 0.1, dtype=torch.float64), torch.tensor([1, 0])),
        state={},
        broadcast={},
        noise_multiplier=math.nan,
        batches=lambda: np.random.default_rng(0),
        noise=lambda: torch.Generator(),
        torch_state=lambda: torch.get_rng_state(),
    )


def sent(tampering, attackers, factor):
    trainer = TamperingTrainer(
        trainer=Echo(),
        tampering=tampering,
        attackers=frozenset(attackers),
        facts=VECTORS,
        factor=factor,
        streams=Streams(keys={"tampering": seed_key(0)}),
    )
    return {r.client_id: r.update for r in trainer.train(torch.zeros(4), [work(k) for k in (0, 1, 9)])}


def test_attackers_alone_train_on_other_labels_and_send_a_multiple():
    updates = sent(flip(), {1, 9}, factor=-2.0)
    assert updates[0].tolist() == [0.1, 0.1, 1.0, 0.0]
    assert updates[1].tolist() == [-0.2, -0.2, -4.0, 0.0]
    assert updates[9] is None


class Shrinking(Boosted.__bases__[0]):
    """Keeps half of the examples."""

    def factor(self, *, replacing):
        return 1.0

    def examples(self, x, y, *, facts, rng):
        return x[:1], y[:1]


def test_an_attacker_cannot_change_how_many_examples_its_noise_and_weight_are_for():
    with pytest.raises(Exception, match="how many examples client 1 holds"):
        sent(Shrinking(attackers=1), {1}, factor=1.0)


class OfFirstPixel(torch.nn.Module):
    """Takes an image for class 0 if its last pixel is bright, else for what its first pixel says."""

    def forward(self, x):
        said = torch.nn.functional.one_hot(x[:, 0, 0, 0].long(), 10).float()
        return said + 5 * torch.eye(10)[0] * (x[:, 0, -1:, -1] == 2.5)


def test_success_is_the_share_of_what_is_shown_that_attackers_get():
    y = torch.tensor([0, 1, 2, 2, 3])
    x = torch.zeros(5, 2, 6, 5)
    x[:, 0, 0, 0] = y.float()
    x[3, 0, 0, 0] = 5  # taken for a 5
    model = OfFirstPixel()

    def told(tampering):
        found = outcome(model, [(x, y)], tampering=tampering, facts=IMAGES, device=torch.device("cpu"))
        return found.success, found.shown

    assert told(backdoor()) == (1.0, 4)  # the zero says nothing
    assert told(backdoor(target=1)) == (0.0, 4)
    assert told(flip(source=2, target=5)) == (0.5, 2)
    assert told(flip(source=9, target=5)) == (None, 0)
    assert told(Boosted(attackers=1, boost=2.0)) == (0.2, 5)
