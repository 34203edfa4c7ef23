"""What a report says, and which files it leaves."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import fedpriv
from fedpriv.errors import InputError
from fedpriv.reports.html.cost import significance
from fedpriv.reports.html.panels import panels, thinned
from fedpriv.reports.html.tables import Table
from fedpriv.runs import find_runs


@pytest.fixture(scope="module")
def sweep(digits_sweep):
    return find_runs([digits_sweep / "sweep"])


def specs(page: Path) -> dict:
    return json.loads(re.search(r'id="figures">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def rows(spec: dict) -> list[dict]:
    inline = [layer["data"].get("values", []) for layer in spec["layer"] if "data" in layer]
    return [row for values in [*spec.get("datasets", {}).values(), *inline] for row in values]


def test_the_command_leaves_one_file_beside_which_nothing_is_needed(command, digits_sweep, tmp_path):
    told = command("report", str(digits_sweep / "sweep"), "-o", "mine/report.html")
    assert (told.code, told.err) == (0, "")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["report.html"]
    assert "6 runs: mine/report.html" in told.out


@pytest.mark.slow
def test_tables_and_figures_are_files_where_asked_for(command, digits_sweep, tmp_path, sweep):
    told = command("report", str(digits_sweep / "sweep"), "-o", "r.html", "--tables=tables", "--figures=figures")
    assert told.code == 0
    with (tmp_path / "tables/runs.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert {row["run"].split("/")[1] for row in listed} == {run.record.run_id for run in sweep}
    assert (tmp_path / "tables/cost_of_privacy.md").read_text().count("\n| ") == 5
    assert (tmp_path / "figures/privacy_utility.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures/privacy_utility.svg").read_text().startswith("<svg")


def test_no_epsilon_is_below_the_one_that_was_earned_and_none_is_made_up(page, sweep):
    earned = {run.record.run_id: run.epsilon for run in sweep}
    seen = {row["run"]: row for row in rows(specs(page)["figure_privacy_utility_1"]) if "run" in row}
    assert seen.keys() == earned.keys()
    for run_id, row in seen.items():
        if earned[run_id] is None:
            assert row["told"] == "none"
        else:
            assert earned[run_id] <= float(row["told"]) <= earned[run_id] * 1.01


def test_what_has_no_epsilon_stands_beyond_the_axis_at_a_place_that_says_so(page):
    spec = specs(page)["figure_privacy_utility_1"]
    points = [row for row in rows(spec) if "place" in row]
    private = max(row["place"] for row in points if row["told"] != "none")
    assert min(row["place"] for row in points if row["told"] == "none") > private
    assert "no privacy" in json.dumps(spec)


def test_unlike_runs_are_in_panels_of_their_own_and_the_page_says_why(page):
    text = page.read_text()
    assert "unit differs: " in text
    first, second = (rows(specs(page)[f"figure_learning_curves_{n}"]) for n in (1, 2))
    private = [{row["setting"] for row in found if row["private"]} for found in (first, second)]
    assert private[0].isdisjoint(private[1])
    assert all(private)


def test_the_answer_names_every_epsilon_and_what_it_costs(page, sweep):
    answer = re.search(r'<div class="answer">(.*?)</div>', page.read_text(), re.DOTALL)[1]
    (panel,) = panels(sweep)
    for setting in panel.settings:
        if setting.label in panel.front or setting.epsilon is None:
            assert f"{setting.interval.mean:.3f}" in answer
            assert setting.label in answer
    means = {setting.label: setting.interval.mean for setting in panel.settings}
    best = max((s for s in panel.settings if s.label in panel.front), key=lambda s: s.epsilon)
    assert f"{means['no privacy'] - means[best.label]:.3f}" in answer


def test_the_answer_says_which_costs_are_more_than_luck():
    p_values = {"epsilon 1": 0.01, "epsilon 4": 0.2, "epsilon 8": None}
    costs = {label: SimpleNamespace(p_holm=p) for label, p in p_values.items()}
    assert "Significant cost: only at epsilon 1 (" in significance(costs)
    assert "Significant cost: none (" in significance({"epsilon 4": costs["epsilon 4"]})
    assert "Significant cost: each (" in significance({"epsilon 1": costs["epsilon 1"]})
    assert significance({"epsilon 8": costs["epsilon 8"]}) == ""


def test_client_epsilons_bound_every_client_and_stay_within_the_guarantee(sweep):
    from fedpriv.reports.html.client_epsilons import client_epsilons

    for run in sweep:
        found = client_epsilons(run)
        if run.epsilon is None:
            assert found is None
        else:
            assert len(found) == 10
            assert max(found.values()) == run.epsilon
            assert found[run.guarantee["worst_client"]] == run.epsilon


def test_runs_that_cannot_be_reported_are_listed_and_the_rest_is_reported(command, digits_sweep, tmp_path):
    shutil.copytree(digits_sweep / "sweep", tmp_path / "runs")
    running, failed, broken, forged, *rest = sorted((tmp_path / "runs").iterdir())
    for folder, status, error in ((running, "running", None), (failed, "failed", "<i>out of memory</i>")):
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | {"status": status, "error": error}))
    (broken / "run.json").write_text("{")
    with (forged / "ledger.jsonl").open("a") as ledger:
        ledger.write("{}\n")
    told = command("report", "runs", "-o", "report.html")
    assert (told.code, told.err) == (0, "")
    assert "2 runs, 4 not reported" in told.out
    listed = (tmp_path / "report.html").read_text().partition("<h3>Not reported</h3>")[2]
    assert all(folder.name in listed for folder in (running, failed, broken, forged))
    assert "&lt;i&gt;out of memory&lt;/i&gt;" in listed
    assert len(rest) == 2


def test_nothing_to_report_is_an_error_with_the_reason(command, digits_sweep, tmp_path):
    run = next((digits_sweep / "sweep").iterdir())
    shutil.copytree(run, tmp_path / "runs/broken")
    (tmp_path / "runs/broken/run.json").write_text("{")
    told = command("report", "runs", "-o", "report.html")
    assert told.code == 2
    assert "is not JSON" in told.err
    assert not (tmp_path / "report.html").exists()


def test_a_folder_as_output_is_refused(command, digits_sweep, tmp_path):
    told = command("report", str(digits_sweep / "sweep"), "-o", str(tmp_path))
    assert told.code == 2
    assert "is a folder" in told.err


def test_links_lead_from_the_page_to_the_run_folders(digits_sweep, sweep, tmp_path):
    fedpriv.report.write(sweep, tmp_path / "deep/report.html")
    links = re.findall(r'<td><a href="([^"]+)"', (tmp_path / "deep/report.html").read_text())
    assert len(links) == len(sweep)
    assert all((tmp_path / "deep" / link / "run.json").exists() for link in links)


OF_OTHER_RUNS = {"group_gaps", "group_accuracy", "claimed_and_measured", "attack_auc", "attack_roc"}
OF_OTHER_RUNS |= {name for name in fedpriv.report.FIGURES if name.startswith("responsible_")}


@pytest.mark.parametrize("name", [name for name in fedpriv.report.FIGURES if name not in OF_OTHER_RUNS])
def test_every_figure_is_a_chart_for_notebooks(sweep, name):
    assert fedpriv.report.figure(name, sweep).to_dict()["layer"]


def test_the_clip_rate_is_of_what_is_clipped(digits_sweep, sweep):
    found = {run.guarantee["unit"]: run for run in find_runs([digits_sweep]) if run.guarantee is not None}
    assert "share of gradients clipped" in json.dumps(fedpriv.report.figure("client_clip_rate", sweep).to_dict())
    assert "share of updates clipped" in json.dumps(
        fedpriv.report.figure("client_clip_rate", [found["client"]]).to_dict()
    )


def test_where_nothing_is_clipped_there_is_no_clip_rate(sweep):
    plain = [run for run in sweep if run.config["privacy"]["mechanism"] == "none"]
    with pytest.raises(InputError, match="nothing to draw"):
        fedpriv.report.figure("client_clip_rate", plain)


def test_a_figure_of_unlike_runs_is_a_chart_for_each_group(digits_sweep):
    chart = fedpriv.report.figure("privacy_utility", find_runs([digits_sweep])).to_dict()
    titles = [part["title"] for part in chart["vconcat"]]
    assert len(titles) == 2
    assert "unit example" in titles[0]
    assert "unit client" in titles[1]


def test_an_unknown_figure_is_refused_with_the_known_ones(sweep):
    with pytest.raises(InputError, match="privacy_utility, learning_curves"):
        fedpriv.report.figure("pie", sweep)


def test_thinned_keeps_both_ends_and_order():
    assert thinned(range(10), 4) == [0, 3, 6, 9]
    assert thinned(range(3), 4) == range(3)


def test_cells_do_nothing_in_spreadsheets_and_markdown():
    rows = [["=cmd()", "-0.25"], ["x|y", "-0.1 to 0.2"]]
    table = Table(key="t", caption="", columns=["a", "b"], rows=rows, numbers=frozenset("b"))
    assert table.csv() == "a,b\n'=cmd(),-0.25\nx|y,-0.1 to 0.2\n"
    assert table.markdown() == "| a | b |\n| --- | ---: |\n| =cmd() | -0.25 |\n| x\\|y | -0.1 to 0.2 |\n"


def test_the_notebook_example_of_the_page_runs(digits_sweep, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/reports.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(digits_sweep / "sweep", "outputs/digits_sweep")
    exec(example, {})
    assert (tmp_path / "report.html").exists()
    named = re.search(r"names the figures: (.*?)\.\s", page, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)`", named)) == set(fedpriv.report.FIGURES)
