"""What a report says of audits and attacks: in its tables, its figures, and in real Chromium."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

import fedpriv
from crash.runs import here
from fedpriv.config import compose
from fedpriv.experiment import run
from fedpriv.privacy.mechanisms import CentralGaussian
from fedpriv.reports.html import write
from fedpriv.reports.html.measured import contradicted, measured_table
from fedpriv.reports.html.panels import panels
from fedpriv.runs import find_runs
from fedpriv.tracking import Callback

PEOPLE = ("experiment=digits_smoke", "model=mlp", "rounds=2", "evaluation.clients=false", "split.client_holdout=0.5")
AUDITED = ("privacy=central", "sampling=all", "audit=client_canaries", "audit.canaries=300", "privacy.delta=1e-4")


class Silent(Callback):
    """Tells nobody anything."""


def points(name, runs, layer=-1):
    """The rows of a layer of a figure."""
    spec = fedpriv.report.figure(name, runs).to_dict()
    drawn = spec["layer"][layer]
    drawn = drawn["layer"][-1] if "layer" in drawn else drawn
    source = drawn.get("data", spec.get("data"))
    return source["values"] if "values" in source else spec["datasets"][source["name"]]


def lines(table):
    return [dict(zip(table.columns, line, strict=True)) for line in table.rows]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """Two budgets over two seeds, each run attacked by its losses."""
    folder = tmp_path_factory.mktemp("attacked")
    for seed in (0, 1):
        for privacy in (("privacy.epsilon=8",), ("privacy=none",)):
            given = (*PEOPLE, *privacy, f"seed={seed}", "attack=loss_threshold", f"output_dir={folder}")
            run(compose([*given], config_dir=None), reporter=Silent())
    return find_runs([folder])


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audited")
    given = (*PEOPLE[:4], *AUDITED, "privacy.epsilon=null", "privacy.noise_multiplier=2.0", f"output_dir={folder}")
    run(compose([*given], config_dir=None), reporter=Silent())
    return find_runs([folder])


@pytest.mark.slow
def test_the_table_has_what_each_attack_got_at_each_setting(attacked):
    (panel,) = panels(attacked.runs)
    table = measured_table(panel)
    for setting, line in zip(panel.settings, lines(table), strict=True):
        mean = np.mean([one.record.extra["attacks"]["loss_threshold"]["auc"] for one in setting.runs])
        assert (line["setting"], line["attack"]) == (setting.label, "loss_threshold")
        assert (line["claimed epsilon"] == "none") == (setting.epsilon is None)
        assert line["AUC"].split(" ")[0] == f"{mean:.3f}"
        assert line["TPR at 1 % FPR"] == "not measurable"  # with fewer than 1,000 non-members


def test_figures_have_every_attack_and_the_curves_that_its_files_hold(attacked):
    rows = points("attack_auc", attacked)
    assert {(row["setting"], row["series"]) for row in rows} == {
        (setting.label, "loss_threshold") for setting in panels(attacked.runs)[0].settings
    }
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)
    curve = points("attack_roc", attacked)
    assert {row["setting"] for row in curve} == {row["setting"] for row in rows}
    assert all(0 < row["fpr"] <= 1 and 0 < row["tpr"] <= 1 for row in curve)
    first = min(attacked.runs, key=lambda one: (one.epsilon is not None, one.record.seed))
    told = json.loads((first.path / "attacks" / "loss_threshold.json").read_text())["roc"]
    drawn = {(row["fpr"], row["tpr"]) for row in curve if row["setting"] == "no privacy"}
    assert drawn <= set(zip(told["fpr"], told["tpr"], strict=True))


def test_what_guessing_gets_stands_beside_each_kind_of_attack_and_only_members_are_in_the_figure_of_members(attacked):
    runs = find_runs([one.path for one in attacked.runs if one.epsilon is None])
    for one in runs:
        one.record.extra["attacks"] |= {
            "property_inference": {"property": "x", "success": 0.8, "control": 0.51, "auc": 0.9, "baseline": 0.7},
            "analytic_inversion": {"psnr": 60.0, "success": 1.0, "baseline": 14.0, "ssim": 0.9},
            "backdoor": {"success": 0.9, "baseline": 0.1, "attackers": [1], "baseline_accuracy": 0.9, "accuracy": 0.8},
        }
    found = {line["attack"]: line for line in lines(measured_table(panels(runs.runs)[0]))}
    columns = ("success", "guessing", "PSNR, dB", "nearest other image, dB")
    assert {name: tuple(line[column].split(" (")[0] for column in columns) for name, line in found.items()} == {
        "loss_threshold": ("", "", "", ""),
        "property_inference": ("0.800", "0.510", "", ""),
        "analytic_inversion": ("1.000", "", "60.000", "14.000"),
        "backdoor": ("0.900", "0.100", "", ""),
    }
    assert [line["TPR at 1 % FPR"] for line in found.values()] == ["not measurable", "", "", ""]
    assert {row["series"] for row in points("attack_auc", runs)} == {"loss_threshold"}


def test_a_damaged_curve_is_left_out(attacked, tmp_path):
    shutil.copytree(attacked.runs[0].path.parent.parent, tmp_path / "copy")
    for file in (tmp_path / "copy").rglob("loss_threshold.json"):
        file.write_text("{")
    with pytest.raises(fedpriv.errors.InputError, match="nothing to draw in attack_roc"):
        fedpriv.report.figure("attack_roc", find_runs([tmp_path / "copy"]))


def test_claimed_stands_beside_measured(audited):
    (only,) = audited.runs
    (dot,) = points("claimed_and_measured", audited)
    (bar,) = points("claimed_and_measured", audited, layer=0)
    assert dot["epsilon"] == only.record.audited["empirical_epsilon"] < bar["epsilon"] == only.epsilon
    (line,) = lines(measured_table(panels(audited.runs)[0]))
    assert line["measured, at least"] == f"{dot['epsilon']:.3f}"


def test_a_run_whose_audit_refutes_its_claim_is_told_of_first(attacked, tmp_path, monkeypatch):
    honest = CentralGaussian.noise
    monkeypatch.setattr(CentralGaussian, "noise", lambda self, **position: 0.0 * honest(self, **position))
    given = (*PEOPLE[:4], *AUDITED, "privacy.epsilon=null", "privacy.noise_multiplier=2.0", "audit.guesses=100")
    assert here("run", *given, "workers=1", f"output_dir={tmp_path}").code == 1
    runs = find_runs([tmp_path])
    (line,) = contradicted(runs.others)
    assert "contradicts the claim" in line
    both = replace(attacked, others=runs.others)
    write(both, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.index("Audits that refute a claim") < text.index("figure_attack_auc")


def test_runs_that_nobody_attacked_say_so(run_digits, tmp_path):
    run_digits("rounds=1", output_dir=tmp_path)
    write(find_runs([tmp_path]), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "None of these models was attacked" in text
    assert "No claim was audited" in text
    assert "figure_attack" not in re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)[1]


@pytest.mark.slow
def test_the_section_is_drawn_in_chromium(attacked, tmp_path):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'fedpriv[test]'")
    write(attacked, tmp_path / "alone.html")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab, complaints = browser.new_page(viewport={"width": 390, "height": 844}), []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto((tmp_path / "alone.html").as_uri())
        tab.wait_for_selector("html[data-ready=yes]")
        dots = tab.evaluate("document.querySelectorAll('#figure_attack_auc svg .mark-symbol.role-mark path').length")
        lines = tab.evaluate("document.querySelectorAll('#figure_attack_roc svg .mark-line.role-mark path').length")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert (dots, lines, complaints) == (2, 3, [])  # two settings, and chance
    assert wide <= 390
