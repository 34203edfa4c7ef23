"""From the words of a sweep to the overrides of its jobs."""

import pytest

from fedpriv.config import compose
from fedpriv.errors import ConfigError
from fedpriv.sweeps.expansion import Words, grid, probes
from fedpriv.sweeps.jobs import JobMaker, distinct


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("privacy.epsilon=1,2,inf", ["1", "2", "inf"]),
        ("seed=range(0,3)", ["0", "1", "2"]),
        ("training.lr=choice(0.1,0.2)", ["0.1", "0.2"]),
        ("privacy=none,example", ["none", "example"]),
    ],
)
def test_an_axis_has_the_values_that_hydra_reads(text, values):
    key = text.partition("=")[0]
    assert grid([text]) == [(f"{key}={value}",) for value in values]


def test_a_grid_is_every_combination_the_last_key_fastest():
    assert grid(["privacy.epsilon=1,8", "seed=0,1"]) == [
        ("privacy.epsilon=1", "seed=0"),
        ("privacy.epsilon=1", "seed=1"),
        ("privacy.epsilon=8", "seed=0"),
        ("privacy.epsilon=8", "seed=1"),
    ]


def test_a_list_and_a_quoted_comma_are_one_value():
    words = Words.of(["model.trainable=[a,b]", "data.path='a,b.csv'", "seed=0,1"])
    assert words.fixed == ("model.trainable=[a,b]", "data.path='a,b.csv'")
    assert words.swept == ("seed=0,1",)


def test_nothing_swept_is_one_job():
    assert grid([]) == [()]


def test_hydras_words_are_kept_apart():
    words = Words.of(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0"])
    assert (words.launcher, words.sweeper, words.fixed) == ("joblib", "basic", ("seed=0",))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("hydra.run.dir=x", "output_dir=DIR"),
        ("hydra/job_logging=none", "hydra/launcher"),
        ("seed", "KEY=VALUE"),
    ],
)
def test_other_words_are_refused(override, told):
    with pytest.raises(ConfigError, match=told):
        Words.of([override])


@pytest.mark.parametrize("swept", ["privacy.epsilon=interval(1,8)", "privacy=glob(*)"])
def test_a_grid_needs_values(swept):
    with pytest.raises(ConfigError, match="list the values"):
        grid([swept])


def test_probes_meet_every_value_and_both_ends():
    assert probes(["privacy.epsilon=interval(1,8)", "training.lr=0.1,0.5"]) == [
        ("privacy.epsilon=1.0", "training.lr=0.1"),
        ("privacy.epsilon=8.0", "training.lr=0.1"),
        ("privacy.epsilon=1.0", "training.lr=0.5"),
    ]


def composed(overrides):
    return compose(overrides, config_dir=None)


@pytest.mark.slow
def test_a_job_is_composed_as_a_run_is():
    fixed = ["experiment=digits_smoke", "model=mlp"]
    jobs = JobMaker(fixed=fixed, compose=composed, workers=None).make(grid(["privacy=none,example"]), first=0)
    assert [job.config for job in jobs] == [composed([*fixed, "privacy=none"]), composed([*fixed, "privacy=example"])]


def test_workers_are_those_that_are_said():
    maker = JobMaker(fixed=["experiment=digits_smoke"], compose=composed, workers=1)
    assert [job.config.workers for job in maker.make([(), ("workers=2",)], first=0)] == [1, 2]


def test_the_same_value_said_twice_is_one_job():
    maker = JobMaker(fixed=["experiment=digits_smoke"], compose=composed, workers=None)
    jobs = distinct(maker.make(grid(["privacy.epsilon=8,8.0,4"]), first=0))
    assert [job.label for job in jobs] == ["privacy.epsilon=8", "privacy.epsilon=4"]
