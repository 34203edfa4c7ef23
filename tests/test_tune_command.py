"""`fedpriv tune` as a person or a script uses it."""

import json

import pytest

from fedpriv.config import compose
from fedpriv.experiment.tune import Row, Tuned
from fedpriv.training import Tuning

BETTER = Row(
    overrides={"tuning.stack_size": 8, "tuning.chunk_size": 8}, seconds=0.5, ratio=0.6, least=0.5, most=0.7, repeats=5
)
FLOWER = "strategy.flower._target_=flwr.serverapp.strategy.FedMedian"


@pytest.fixture
def found(monkeypatch):
    """Lets the command find that ``better`` is better, without measuring."""

    def let(better, *, complete=True):
        tuning = Tuning(
            engine="vectorized",
            chunk_size=2,
            stack_size=2,
            convolutions="patches",
            memory_format=None,
            threads=1,
            formulation=None,
        )
        first = Row(overrides={}, seconds=0.8, ratio=1.0, least=1.0, most=1.0, repeats=9)
        rows = [first] if better is None else [first, better]
        answer = Tuned(tuning=tuning, clients=16, rows=rows, better=better, complete=complete)
        monkeypatch.setattr("fedpriv.experiment.tune.tune", lambda config, *, seconds, tell: answer)

    return let


@pytest.mark.slow
def test_stdout_holds_only_the_object_and_nothing_is_written(command, tmp_path):
    shown = command("tune", "--json", "experiment=digits_smoke", "--seconds=12", "partition.num_clients=40")
    assert (shown.code, shown.err) == (0, "")
    told = json.loads(shown.out)
    assert told["rows"][0]["overrides"] == {}
    assert told["rows"][0]["ratio"] == 1
    assert {"training.engine": "opacus"} in [row["overrides"] for row in told["rows"]]
    assert (told["better"] is None) == (told["overrides"] == [])
    assert not {"loss", "accuracy"} & {word for row in told["rows"] for word in row}
    assert list(tmp_path.iterdir()) == []


def test_people_get_a_table_and_a_line_to_paste(command, found):
    found(BETTER)
    shown = command("tune", "experiment=digits_smoke")
    assert shown.code == 0
    assert "Seconds of local training" in shown.out
    assert "\n  tuning.stack_size=8 tuning.chunk_size=8\n" in shown.out
    assert "tuning is part of the run id" in shown.out


def test_where_nothing_is_faster_it_says_so_and_writes_nothing(command, found, tmp_path):
    found(None, complete=False)
    shown = command("tune", "experiment=digits_smoke", "--write", "mine/experiment/fast.yaml")
    assert shown.code == 0
    assert "The rules are as good" in shown.out
    assert "--seconds=N gives more" in shown.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_the_better_one_is_written_as_an_experiment(command, found, tmp_path, json_too):
    found(BETTER)
    words = ["experiment=digits_smoke", "training.lr=0.25"]
    shown = command("tune", *words, "--write", "mine/experiment/fast.yaml", *json_too)
    assert shown.code == 0
    assert "experiment=fast" in (shown.err if json_too else shown.out)
    written = compose(["experiment=fast"], config_dir=tmp_path / "mine")
    assert written == compose([*words, "tuning.stack_size=8", "tuning.chunk_size=8"], config_dir=None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["privacy=none", "strategy=flower", FLOWER], "With strategy=flower there is nothing to tune"),
        (["privacy=none", "+training.function._target_=mine.train"], "With training.function there is nothing to tune"),
        (["training.engine=opacus"], "nothing to tune: the experiment says it all itself"),
        (["tuning.stack_sise=8"], "Did you mean tuning.stack_size"),
        (["--seconds=0"], "must lie between 1 and 86400"),
        (["--write", "taken.yaml"], "exists already"),
        (["--write", "mine/digits_smoke.yaml"], "a name that no preset of fedpriv's own has"),
        (["--write", "mine/fast.txt"], "must end in .yaml"),
    ],
)
def test_what_cannot_be_tuned_is_told_in_one_line(command, tmp_path, words, message):
    (tmp_path / "taken.yaml").touch()
    shown = command("tune", "experiment=digits_smoke", *words)
    assert (shown.code, shown.out) == (2, "")
    assert message in shown.err
    assert shown.err.count("\n") == 1
