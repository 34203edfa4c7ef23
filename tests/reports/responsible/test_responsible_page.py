"""The panel on responsible AI as a page: where it stands, what it explains, and in real Chromium."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedpriv.reports.html import write
from fedpriv.reports.html.responsible.words import WORDS, used
from fedpriv.runs import find_runs

GLOSSARY = Path(__file__).parents[3] / "docs" / "glossary.md"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def test_words_mean_what_they_mean_in_the_glossary():
    lines = re.findall(r"^\| (.+?) \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    known = dict(lines)
    assert {word: known.get(word) for word in WORDS} == dict(WORDS)


def test_only_words_that_are_used_are_explained():
    assert set(used(["The AUC of a canary at EPSILON 3, in seeds of a Caucasian."])) == {
        "AUC",
        "canary",
        "epsilon, delta",
        "seed",
    }
    assert used(["Caucasian"]) == {}


def test_the_panel_follows_the_answer_and_has_all_three(by_sex, tmp_path):
    write(by_sex, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.index('id="answer"') < text.index('id="responsible"') < text.index('id="curves"')
    titles = re.findall(r"<article class=\"card\">\s*<h3>(.*?)</h3>", text)
    assert [title.split(":")[0] for title in titles] == ["Privacy", "Attacks", "Fairness"]
    assert "What was not measured" in text
    assert 'href="#responsible"' in text


@pytest.mark.slow
def test_where_nothing_was_measured_there_is_no_panel(run_digits, tmp_path):
    run_digits("rounds=1", output_dir=tmp_path)
    write(find_runs([tmp_path]), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "responsible" not in re.sub(r"<style>.*?</style>|<script.*?</script>", "", text, flags=re.DOTALL)


@pytest.mark.slow
def test_figures_of_the_panel_are_files_too(command, attacked_folder, tmp_path):
    assert command("report", str(attacked_folder), "-o", "r.html", "--figures=figures").code == 0
    assert (tmp_path / "figures/responsible_odds.svg").read_text().startswith("<svg")
    assert (tmp_path / "figures/responsible_membership.png").stat().st_size > 1000


# -- in Chromium -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'fedpriv[test]'")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_is_drawn_within_the_screen_and_loads_nothing(chromium, by_sex, tmp_path, viewport, scheme):
    write(by_sex, tmp_path / "alone.html", galleries=True)
    complaints: list[str] = []
    tab = chromium.new_page(viewport=viewport, color_scheme=scheme)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
    tab.goto((tmp_path / "alone.html").as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    marks = tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#responsible .chart')].map(c => "
        "[c.id, c.querySelectorAll('svg .mark-symbol.role-mark path').length]))"
    )
    assert marks == {
        "figure_responsible_utility": 3,
        "figure_responsible_odds": 3,
        "figure_responsible_membership": 3,
        "figure_responsible_attacks": 6,
        "figure_responsible_accuracy": 6,
        "figure_responsible_gaps": 6,
    }
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    outside = "c => c.querySelector('svg').getBoundingClientRect().right > innerWidth"
    assert tab.evaluate(f"[...document.querySelectorAll('#responsible .chart')].filter({outside}).length") == 0
    # every plot of epsilon begins at the same place of its column, and in a row at the same height
    tops = tab.evaluate(
        "[...document.querySelectorAll('#responsible article')].map(a => "
        "Math.round(a.querySelector('.smalls').getBoundingClientRect().top))"
    )
    assert (len(set(tops)) == 1) == (viewport is DESKTOP)
    pictures = tab.evaluate("[...document.querySelectorAll('#responsible img')].map(i => [i.naturalWidth, i.alt])")
    assert len(pictures) == 2 * 3 * 2
    assert all(width == 8 and alt for width, alt in pictures)
    # for readers that do not see: figures have a name, the gallery can be scrolled by keys
    assert tab.evaluate(
        "[...document.querySelectorAll('#responsible [role=img]')].every(f => f.getAttribute('aria-label').length > 20)"
    )
    assert tab.evaluate(
        "[...document.querySelectorAll('#responsible .scroll:has(.gallery)')].every(s => s.tabIndex == 0)"
    )
    tab.focus("#responsible > details > summary")
    tab.keyboard.press("Enter")
    assert tab.locator("#responsible dl dt", has_text="epsilon, delta").is_visible()
    tab.close()
    assert complaints == []
