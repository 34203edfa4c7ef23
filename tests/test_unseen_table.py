"""A table that nobody has seen before: described, run, and told about where it is wrong."""

import csv
import gzip
import json
import re
import shlex

import numpy as np
import pytest

ODD = ["größe (cm)", "a:b", "x.y", 'the "best"', "it's, well", "#no", "日本", "- dash", "{curly}", "true", "1"]
RUN = ("model=logistic", "partition=iid", "partition.num_clients=4", "rounds=2", "evaluation.clients=false")


@pytest.fixture
def odd_table(tmp_path):
    """300 rows; the outcome follows from the size."""
    rng = np.random.default_rng(0)
    with (tmp_path / "odd table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "same", "city 🏙", *ODD, "Krank?"])
        for i in range(300):
            size = rng.normal(170, 10)
            numbers = [round(size, 1), *rng.normal(size=len(ODD) - 1).round(3)]
            cells = ["" if rng.random() < 0.05 else number for number in numbers]
            city = rng.choice(["", f"Stadt „{i % 200}“, Süd\nOst"], p=[0.1, 0.9])
            writer.writerow([f"{i % 28 + 1}.03.2021", "x", city, *cells, "ja ✓" if size > 170 else "nein"])
    return tmp_path / "odd table.csv"


def test_it_is_described_and_runs(odd_table, command, tmp_path):
    outcome = command("data", "describe", odd_table.name, "--label", "Krank?", "-o", "mine/data/odd.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    words = " ".join(outcome.out.split())
    assert "using them is a release that no guarantee covers" in words
    assert "300" in words
    block = (tmp_path / "mine" / "data" / "odd.yaml").read_text(encoding="utf-8")
    assert re.search(r'# left out: "when", as a date', block)
    assert re.search(r'# left out: "same", as it has one value', block)
    assert "more, which count as other" in block

    shown = command("data", "--config-dir=mine", "data=odd", *RUN[1:3])
    assert shown.code == 0
    assert "240" in shown.out
    plain = ("privacy=none", "training.lr=1", "task=binary", "rounds=20")
    ran = command("run", "--config-dir=mine", "data=odd", *RUN, *plain)
    assert (ran.code, ran.err) == (0, "")
    (record,) = tmp_path.glob("outputs/*/*/run.json")
    metrics = json.loads(record.read_text())["metrics"]
    assert metrics["test_accuracy"] > metrics["baseline"] + 0.1
    again = command("run", "--config-dir=mine", "data=odd", *RUN)  # and with privacy
    assert again.code == 0
    assert "Guarantee: epsilon" in again.out


def test_without_a_file_the_block_is_printed(odd_table, command):
    outcome = command("data", "describe", odd_table.name)
    assert outcome.code == 0
    assert "\n# mine/data/odd_table.yaml\n" in outcome.out
    assert "\ndefaults: [table, _self_]\n" in outcome.out
    assert "The label is a guess: 'Krank?'" in " ".join(outcome.out.split())
    run = "fedpriv run --config-dir=mine data=odd_table model=logistic partition=iid name=odd_table"
    assert run in outcome.out


def test_the_command_that_describe_tells_runs(odd_table, command, tmp_path):
    """Also under a name that a shell must be told in quotes."""
    for output in ("mine/data/odd.yaml", "mine/data/odd two.yaml"):
        told = command("data", "describe", odd_table.name, "-o", output).out
        words = shlex.split(re.search(r"fedpriv (run .*)", told)[1])
        assert command(*words, "rounds=1", "privacy=none").code == 0
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"odd", "odd two"}


@pytest.mark.parametrize(
    ("name", "choice"),
    [("table.csv", "my_table"), ("2020-übung.csv.gz", "my_2020-_bung"), ("日本.csv", "my_data"), ("a.b.csv", "a_b")],
)
def test_a_block_is_never_called_as_a_choice_that_there_is(name, choice, odd_table, command, tmp_path):
    content = odd_table.read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert f"data={choice} " in command("data", "describe", name).out


def test_an_experiment_can_hold_the_block(odd_table, command, tmp_path):
    assert command("data", "describe", odd_table.name, "-o", "block.yaml").code == 0
    keys = (tmp_path / "block.yaml").read_text().split("_self_]\n")[1]
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "odd.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: table\n  - override /model: logistic\n"
        "  - override /partition: iid\nname: odd\ndata:\n" + "".join(f"  {line}\n" for line in keys.splitlines())
    )
    outcome = command("run", "--config-dir=mine", "experiment=odd", "privacy=none", "rounds=1")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.labl=Krank?", "There is no key labl in this choice of data"),
        ("data.label=krank?", "no column 'krank?' (data.label). Did you mean 'Krank?'?"),
        ("data.path=odd.csv", "There is no file odd.csv. Check data.path"),
        ("data.classes=[ja]", "is not in data.classes"),
        ("data.encoding=ascii", "is not ascii"),
        ("data.delimiter=';'", "set data.delimiter=','"),
        ("data.numeric.same=[0,1]", "a new one is given with a plus: +data.numeric.same=VALUE"),
        ("+data.numeric.same=[0,1]", "'same' has 'x' in row 1, which is no number"),
        ("data.test_fraction=2", "data.test_fraction is 2"),
        ("data.drop_missing=some", "data.drop_missing"),
    ],
)
def test_a_slip_is_told_in_one_line(override, message, odd_table, command):
    assert command("data", "describe", odd_table.name, "--label=Krank?", "-o", "mine/data/odd.yaml").code == 0
    outcome = command("run", "--config-dir=mine", "data=odd", *RUN, override)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.csv"], "There is nothing at nothing.csv"),
        (["odd table.csv", "--label=Gesund?"], "no column 'Gesund?' (--label)"),
        (["odd table.csv", "-o", "odd table.csv"], "odd table.csv exists already"),
        (["odd table.csv", "-o", "mine/data/table.yaml"], "data=table is fedpriv's own"),
        ([], "PATH"),
        (["odd table.csv", "seed=1"], "unrecognized arguments: seed=1"),
    ],
)
def test_describe_tells_what_is_wrong(words, message, odd_table, command):
    outcome = command("data", "describe", *words)
    assert outcome.code == 2
    assert message in outcome.err


def test_describe_has_its_own_help(command):
    outcome = command("data", "describe", "--help")
    assert outcome.code == 0
    assert "--label COLUMN" in outcome.out
    assert "fedpriv data describe PATH" in command("data", "--help").out
