"""The benchmarks' workloads are those that are written down, and latest.json has what it is read for."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fedpriv

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks.__main__ import chosen, is_there, pairs  # noqa: E402
from benchmarks.contenders import contenders  # noqa: E402
from benchmarks.loop import _shares  # noqa: E402
from benchmarks.pairs import ContenderError, Measured, compare, measure  # noqa: E402
from benchmarks.profiling import ENCODING, OUTSIDE, Looks, profile  # noqa: E402
from benchmarks.workloads import NUM_CLASSES, WORKLOADS, Preset, Random, Workload, softmax_regression  # noqa: E402

from benchmarks import table, with_fedpriv  # noqa: E402

TINY = Workload(
    name="tiny",
    protects="client",
    data=Random(population=6, examples=4, shape=(64,)),
    model=softmax_regression,
    cohort=4,
    batch_size=4,
    lr=0.1,
    clipping_norm=0.4,
    noise_multiplier=1.0,
    warm_up=1,
    rounds=2,
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(WORKLOADS, "tiny", TINY)
    return TINY


def paces(**seconds):
    """A stand-in for ``measure``: every contender takes these seconds a round; a list is used up one by one."""
    left = {name: list(given) if isinstance(given, list) else None for name, given in seconds.items()}
    asked = []

    def measure(contender, workload):
        asked.append(contender.name)
        queue = left[contender.name]
        given = seconds[contender.name] if queue is None else queue.pop(0)
        if isinstance(given, str):
            raise ContenderError(given)
        return Measured(seconds=given, outside=3.0)

    return measure, asked


def compared(workload, measure, *, peers=False, pairs=3):
    return compare(workload, contenders(peers=peers, overrides=()), pairs=pairs, measure=measure, machine="a machine")


@pytest.mark.parametrize(("name", "parameters"), [("W1", 1_626_442), ("W2", 26_010), ("W3", 650)])
def test_models_have_the_stated_parameters(name, parameters):
    assert sum(p.numel() for p in WORKLOADS[name].model().parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "population", "examples", "shape", "cohort", "batch_size"),
    [
        ("W1", 1000, 50, (3, 32, 32), 50, 10),
        ("W2", 100, 100, (1, 28, 28), 20, 20),
        ("W3", 10_000, 20, (64,), 1000, 20),
    ],
)
def test_workloads_have_the_stated_sizes(name, population, examples, shape, cohort, batch_size):
    workload = WORKLOADS[name]
    assert workload.data == Random(population=population, examples=examples, shape=shape)
    assert (workload.cohort, workload.batch_size, workload.lr) == (cohort, batch_size, 0.1)


@pytest.mark.parametrize("name", [name for name, w in WORKLOADS.items() if isinstance(w.data, Preset)])
def test_the_bare_loop_takes_the_steps_that_the_preset_takes(name):
    from fedpriv.config import compose

    workload = WORKLOADS[name]
    config = compose(workload.data.given, config_dir=None)
    assert (config.training.batch_size, config.training.lr) == (workload.batch_size, workload.lr)
    assert (config.training.local_epochs, config.sampling.cohort or 10) == (1, workload.cohort)


def test_every_client_has_its_examples():
    clients = TINY.data.clients()
    assert [(tuple(x.shape), len(y)) for x, y in clients] == [((4, 64), 4)] * 6
    assert {int(label) for _, y in clients for label in y} <= set(range(NUM_CLASSES))


def test_latest_json_is_one_list_of_rows_with_the_keys_that_are_promised(tmp_path):
    measure, _ = paces(bare=2.0, fedpriv=[2.0, 1.0, 3.0])
    table.write(compared(TINY, measure), path=tmp_path / "latest.json")
    rows = json.loads((tmp_path / "latest.json").read_text())
    assert [row["contender"] for row in rows] == ["bare", "fedpriv"]
    assert {"workload", "contender", "seconds_per_round", "ratio", "pairs"} <= rows[0].keys()
    assert [rows[0][key] for key in ("workload", "seconds_per_round", "ratio", "pairs")] == ["tiny", 2.0, 1.0, 3]
    assert [rows[1][key] for key in ("seconds_per_round", "ratio", "ratio_least", "ratio_most")] == [2.0, 1, 0.5, 1.5]
    assert "1.00 (0.50 .. 1.50) of 3" in (tmp_path / "latest.md").read_text()


def test_pairs_alternate():
    measure, asked = paces(bare=1.0, fedpriv=1.0)
    compared(TINY, measure)
    assert asked == ["bare", "fedpriv", "fedpriv", "bare", "bare", "fedpriv"]


def test_each_contender_has_a_bare_loop_next_to_it():
    measure, _ = paces(bare=[1.0, 2.0, 4.0], fedpriv=1.0, bare_channels_last=1.0, opacus=1.0)
    rows = compared(WORKLOADS["W2"], measure, pairs=1)
    assert {row["contender"]: row["ratio"] for row in rows} == {
        "bare": 1.0,
        "fedpriv": 1.0,
        "bare_channels_last": 0.5,
        "opacus": 0.25,
    }


@pytest.mark.parametrize(
    ("name", "others"),
    [("W1", {"bare_channels_last"}), ("W2", {"bare_channels_last", "opacus"}), ("W3", set())],
)
def test_a_workload_has_the_contenders_that_it_means_something_to(name, others):
    takers = {c.name for c in contenders(peers=True, overrides=()) if c.takes(WORKLOADS[name])}
    assert takers == {"bare", "fedpriv", "pfl", "fedlab", "flower"} | others


def test_a_contender_that_cannot_run_says_so_and_stops_nobody(tmp_path):
    measure, _ = paces(bare=1.0, fedpriv=2.0, pfl="not installed", fedlab=3.0, flower=4.0)
    rows = {row["contender"]: row for row in compared(TINY, measure, peers=True)}
    assert (rows["pfl"]["ratio"], rows["pfl"]["pairs"], rows["pfl"]["note"]) == (None, 0, "not installed")
    assert (rows["fedlab"]["ratio"], rows["flower"]["ratio"]) == (3.0, 4.0)
    shown = table.markdown(list(rows.values()))
    assert "| pfl | could not run |" in shown
    assert "pfl on tiny: not installed." in shown


def test_where_the_bare_loop_fails_nothing_is_compared_and_it_is_the_one_that_is_named():
    measure, _ = paces(bare="out of memory", fedpriv=2.0)
    rows = {row["contender"]: row for row in compared(TINY, measure)}
    assert (rows["bare"]["pairs"], rows["bare"]["note"]) == (0, "out of memory")
    assert (rows["fedpriv"]["pairs"], rows["fedpriv"]["note"]) == (0, "the bare loop failed")


def test_the_environment_narrows_what_is_run(monkeypatch):
    assert [workload.name for workload in chosen("W2, W3")] == ["W2", "W3"]
    assert [workload.name for workload in chosen("")] == list(WORKLOADS)
    monkeypatch.setenv("PAIRS", "3")
    assert pairs() == 3
    monkeypatch.delenv("PAIRS")
    assert pairs() == 5


@pytest.mark.parametrize(("pairs_given", "names"), [("0", "W1"), ("many", "W1"), ("3", "W9")])
def test_what_cannot_be_meant_is_told(monkeypatch, pairs_given, names):
    monkeypatch.setenv("PAIRS", pairs_given)
    with pytest.raises(SystemExit, match=r"must be a whole number|there is no W9"):
        chosen(names), pairs()


def test_real_data_that_is_not_there_is_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("benchmarks.workloads.DATA", tmp_path)
    assert not is_there(WORKLOADS["mnist_writers"])
    assert "left out" in capsys.readouterr().out
    assert is_there(WORKLOADS["mnist5k"])


@pytest.mark.slow
def test_the_bare_loop_is_timed_in_a_process_of_its_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    small = Workload(**{**vars(WORKLOADS["W3"]), "warm_up": 1, "rounds": 2})
    bare = contenders(peers=False, overrides=())[0]
    measured = measure(bare, small)
    assert measured.seconds > 0
    assert measured.outside > 0


def test_the_bare_loop_loads_both_processes_alike():
    assert _shares(np.arange(4), np.array([5, 1, 4, 2])) == [[0, 1], [2, 3]]


def test_fedpriv_runs_what_is_described(tiny):
    assert len(with_fedpriv.main(tiny, 3, [], workers=1)) == 3


def stack(*files):
    """A stack of fedpriv's and others' functions, outermost first."""
    frame = None
    for file in files:
        place = file if file.startswith("<") else str(Path(fedpriv.__file__).parent / file)
        frame = SimpleNamespace(f_code=SimpleNamespace(co_filename=place, co_name="f"), f_back=frame)
    return frame


@pytest.mark.parametrize(
    ("files", "part"),
    [
        (["federation/server_app.py", "training/sgd.py", "/lib/torch/optim.py"], "local training"),
        (["federation/server_app.py", "federation/algorithm.py", "privacy/clipping.py"], ENCODING),
        (["federation/server_app.py", "federation/messages.py", "/lib/python/pickle.py", "<string>"], "messages"),
        (["experiment/lifecycle.py", "data/federated.py"], OUTSIDE),
        (["/lib/python/runpy.py"], OUTSIDE),
    ],
)
def test_time_counts_for_the_innermost_part_of_fedpriv(files, part):
    looks = Looks()
    looks.add(stack(*files))
    assert looks.parts == {part: 1}


def test_a_profile_says_what_was_run(tiny):
    shown = profile(tiny, [], workers=1)
    assert shown.startswith("tiny, 4 rounds, all in one process")
    assert f"| {OUTSIDE} |" in shown
