"""What a report says of sensitive groups: in its tables, its figures, and in real Chromium."""

import json
import re
import shutil

import numpy as np
import pytest

import fedpriv
from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.reports.html import write
from fedpriv.reports.html.groups import group_table
from fedpriv.reports.html.panels import panels
from fedpriv.runs import find_runs
from fedpriv.tracking import Callback

KEYS = ("demographic_parity_difference", "equalized_odds_difference", "equal_opportunity_difference")


class Silent(Callback):
    """Tells nobody anything."""


def points(name, runs):
    """The rows of a figure's points."""
    spec = fedpriv.report.figure(name, runs).to_dict()
    source = spec["layer"][-1].get("data", spec.get("data"))
    return source["values"] if "values" in source else spec["datasets"][source["name"]]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two epsilons and no privacy over two seeds, on a table with a sensitive column."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("groups")
    rows = [f"{x:.3f},{'fm'[int(x + rng.normal() > 0)]},{int(x + rng.normal() > 0)}" for x in rng.normal(size=400)]
    (folder / "t.csv").write_text("\n".join(["x,sex,y", *rows]))
    for seed in (0, 1):
        for privacy in ("privacy.epsilon=2", "privacy.epsilon=8", "privacy=none"):
            given = [
                *("data=table", f"data.path={folder / 't.csv'}", "data.label=y", "+data.numeric.x=[-3,3]"),
                *("data.groups=[sex]", "model=logistic", "task=binary", "partition=iid", "partition.num_clients=3"),
                *("rounds=2", "name=people", f"seed={seed}", privacy, f"output_dir={folder}"),
            ]
            run(compose(given, config_dir=None), reporter=Silent())
    return find_runs([folder / "people"])


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "report.html"
    write(sweep, file)
    return file


@pytest.mark.slow
def test_the_table_has_the_mean_over_seeds_of_every_difference(sweep):
    (panel,) = panels(sweep.runs)
    table = group_table(panel)
    assert [row[:2] for row in table.rows] == [[setting.label, "sex"] for setting in panel.settings]
    for setting, row in zip(panel.settings, table.rows, strict=True):
        for key, cell in zip(KEYS, row[2:5], strict=True):
            mean = np.mean([found.record.extra["fairness"]["sex"][key] for found in setting.runs])
            assert cell.split(" ")[0] == f"{mean:.3f}"
        accuracies = [found.record.extra["fairness"]["sex"]["accuracy_by_group"] for found in setting.runs]
        means = {name: np.mean([one[name] for one in accuracies]) for name in "fm"}
        assert row[5].startswith(f"{min(means, key=means.get)} {min(means.values()):.3f} (n = ")
        assert row[6].startswith(f"{max(means, key=means.get)} {max(means.values()):.3f} (n = ")


def test_figures_have_a_point_for_each_setting_and_series(sweep):
    for name, series in (("group_gaps", 2), ("group_accuracy", 2)):
        values = points(name, sweep)
        assert len({(row["setting"], row["series"]) for row in values}) == len(values) == 3 * series
        assert all(row["low"] <= row["mean"] <= row["high"] and row["seeds"] == 2 for row in values)


def test_runs_that_name_no_group_say_so(run_digits, tmp_path):
    run_digits("privacy=none", "rounds=1", output_dir=tmp_path)
    write(find_runs([tmp_path]), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "The data of these runs names no sensitive group." in text
    assert "figure_group" not in re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)[1]


def test_of_many_groups_those_that_settings_differ_in_are_drawn(run_digits, tmp_path):
    from fedpriv.reports.html.groups import MOST_GROUPS, too_many

    run_digits("partition=rotations", "rounds=1", output_dir=tmp_path)
    runs = find_runs([tmp_path])
    (panel,) = panels(runs.runs)
    assert not too_many(panel)
    (only,) = runs.runs
    fairness = {"digit": {"accuracy_by_group": {str(n): n / 20 for n in range(10)}, "test_examples_by_group": {}}}
    only.record.extra["fairness"] = fairness
    assert too_many(panel)
    assert len({row["series"] for row in points("group_accuracy", runs)}) == MOST_GROUPS
    with pytest.raises(fedpriv.errors.InputError, match="nothing to draw in group_gaps"):
        fedpriv.report.figure("group_gaps", runs)


@pytest.mark.slow
def test_the_section_is_drawn_in_chromium(page, tmp_path):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'fedpriv[test]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab, complaints = browser.new_page(viewport={"width": 390, "height": 844}), []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(shutil.copy(page, tmp_path / "alone.html").as_uri())
        tab.wait_for_selector("html[data-ready=yes]")
        marks = {
            name: tab.evaluate(f"document.querySelectorAll('#figure_{name} svg .mark-symbol.role-mark path').length")
            for name in ("group_gaps", "group_accuracy")
        }
        rows = tab.evaluate("document.querySelectorAll('#groups tbody tr').length")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert marks == {"group_gaps": 6, "group_accuracy": 6}
    assert (rows, complaints) == (3, [])
    assert wide <= 390


def test_the_exported_table_is_a_file_of_its_own(command, sweep, tmp_path):
    told = command("report", str(sweep.runs[0].path.parent), "-o", "r.html", "--tables=tables")
    assert told.code == 0
    assert (tmp_path / "tables/groups.csv").read_text().splitlines()[0].startswith("setting,attribute,")
    assert json.loads((sweep.runs[0].path / "run.json").read_text())["fairness"]["sex"]
