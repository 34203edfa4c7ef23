"""The search for a better tuning, and the scratch that it is measured on."""

from dataclasses import replace

import pytest

from fedpriv.config import compose
from fedpriv.errors import FedprivError
from fedpriv.experiment import Experiment
from fedpriv.experiment.interleaved import REPEATS, Races
from fedpriv.experiment.scratch import AS_IT_IS, Scratch, overrides
from fedpriv.experiment.tune import search
from fedpriv.experiment.tuning_axes import Axes
from fedpriv.streams import Streams, seed_key

KEY = seed_key(20261122)


def assembled(*words):
    return Experiment.assemble(compose(["experiment=digits_smoke", *words], config_dir=None))


def scratch_of(experiment):
    return Scratch(experiment, key=KEY)


# -- the search --------------------------------------------------------------------------------------------


def races(seconds):
    """Races whose contenders take what ``seconds(choice, so many races before)`` says."""
    count = 0

    def prepare(choice):
        nonlocal count
        count += choice == AS_IT_IS
        mine = seconds(choice, count - 1)
        return lambda: mine

    return Races(prepare=prepare, clock=lambda: 0.0)


def stacks(best):
    return [replace(best, stack_size=size) for size in (1, 2, 4)]


def formats(best):
    return [replace(best, memory_format="contiguous")]


def test_each_axis_starts_from_the_best_so_far():
    def seconds(choice, race):
        return {None: 1.0, 1: 1.2, 2: 0.8, 4: 0.9}[choice.stack_size] * (0.5 if choice.memory_format else 1.0)

    found = search(races(seconds), [stacks, formats], until=1e9)
    assert found.overrides == {"tuning.stack_size": 2, "tuning.memory_format": "contiguous"}
    assert (found.ratio, found.repeats) == (pytest.approx(0.4), REPEATS)


def test_nothing_is_better_where_nothing_is_faster():
    assert search(races(lambda choice, race: 1.0), [stacks, formats], until=1e9) is None


def test_luck_in_the_first_race_is_not_enough():
    def seconds(choice, race):
        return 0.9 if race == 0 and choice.stack_size == 4 else 1.0

    assert search(races(seconds), [stacks], until=1e9) is None


# -- what is tried -----------------------------------------------------------------------------------------


def tried(experiment, *, best=AS_IT_IS):
    scratch = scratch_of(experiment)
    return [[overrides(choice) for choice in axis(best)] for axis in Axes(experiment, scratch).in_turn]


def test_stacks_double_up_to_two_chunks_a_worker():
    experiment = assembled("partition.num_clients=64", "workers=2", "evaluation.clients=false")
    engines, sizes, chunks, convolutions, formats = tried(experiment)
    assert engines == [{"training.engine": "opacus"}]
    largest = 16  # 64 clients, two workers with two chunks each
    assert max(size["tuning.stack_size"] for size in sizes) == largest
    assert all(size.get("tuning.chunk_size", 0) in (0, size["tuning.stack_size"]) for size in sizes)
    assert max(chunk["tuning.chunk_size"] for chunk in chunks) == largest
    assert convolutions == formats == []


def test_what_the_experiment_says_itself_is_not_varied():
    said = ["tuning.chunk_size=4", "tuning.stack_size=2", "training.engine=vectorized", "partition.num_clients=64"]
    assert tried(assembled(*said)) == [[], [], [], [], []]


@pytest.mark.slow
def test_images_have_formulations_and_memory_formats():
    _, _, _, convolutions, formats = tried(assembled("data=mnist5k", "model=lenet"))
    assert convolutions == [{"tuning.convolutions": "native"}]
    assert formats == [{"tuning.memory_format": "contiguous"}]


def test_client_after_client_there_is_no_stack_to_size():
    found = tried(assembled("partition.num_clients=64"), best=replace(AS_IT_IS, engine="opacus"))
    assert found[1:] == [[], [], [], []]


def test_a_choice_is_the_tuning_that_a_run_with_its_overrides_has():
    experiment = assembled("partition.num_clients=64")
    choice = replace(AS_IT_IS, engine="vectorized", stack_size=3, chunk_size=5, convolutions="native")
    words = [f"{key}={value}" for key, value in overrides(choice).items()]
    same = assembled("partition.num_clients=64", *words)
    assert scratch_of(experiment).experiment(choice).run_id() == same.run_id() != experiment.run_id()


# -- the scratch -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.engine=opacus",),
        ("privacy=central", "privacy.noise_multiplier=1", "sampling.cohort=5"),
        ("privacy=none", "strategy=scaffold", "strategy.weighting=uniform"),
        ("privacy.epsilon=inf",),
    ],
)
def test_no_coin_is_the_runs(overrides, monkeypatch):
    experiment, drawn = assembled(*overrides), []
    draw = Streams._seed_sequence

    def recorded(streams, purpose, indices):
        drawn.append((purpose, streams.keys[purpose]))
        return draw(streams, purpose, indices)

    monkeypatch.setattr(Streams, "_seed_sequence", recorded)
    scratch = scratch_of(experiment)
    scratch.shorten(0.01)
    assert scratch.prepare(AS_IT_IS)() > 0
    own = {purpose for purpose, key in drawn if key == KEY}
    assert {purpose for purpose, key in drawn if key != KEY} == {"model"}  # initial weights, which are public
    assert {"cohort", "batches"} <= own
    assert ("noise" in own) == (experiment.config.privacy.mechanism == "example")


def test_as_much_is_measured_as_was_asked_for_and_at_least_a_chunk():
    experiment = assembled("partition.num_clients=64")
    scratch = scratch_of(experiment)
    scratch.shorten(0.0)
    assert scratch.num_clients == experiment.tuning.chunk_size
    scratch = scratch_of(experiment)
    scratch.shorten(1e6)
    assert scratch.num_clients == 64
    scratch = scratch_of(assembled("tuning.chunk_size=100"))
    scratch.shorten(1e6)
    assert scratch.num_clients == 10


def test_a_federation_in_which_every_client_fails_says_why(monkeypatch):
    experiment = assembled()

    def broken(self, client):
        raise ValueError("no such drive")

    monkeypatch.setattr(type(experiment.data), "client", broken)
    with pytest.raises(FedprivError, match=r"every client of the cohort failed; .*no such drive"):
        scratch_of(experiment).shorten(1.0)
