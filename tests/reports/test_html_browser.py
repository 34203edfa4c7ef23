"""The report in real headless Chromium: nothing is loaded, nothing complains, figures are drawn and answer."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HOSTILE = "</script><script>window.hacked=1</script>"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FIGURES = "document.querySelectorAll('.chart')"


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


@pytest.fixture
def opened(chromium: Any, page: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the report alone in an empty folder; at the end of the test nothing may have complained or been loaded."""
    complaints: list[str] = []
    contexts = []
    alone = shutil.copy(page, tmp_path / "report.html")

    def open_page(viewport: dict[str, int] = DESKTOP, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        tab.goto(alone.as_uri())
        tab.wait_for_selector("html[data-ready=yes]")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def marks(tab: Any, figure: str) -> int:
    """Drawn points, lines, bars and areas of a figure, those that nobody can see left out."""
    return tab.evaluate(
        "id => [...document.querySelectorAll(`#${id} svg .role-mark path`)].filter(p => p.getAttribute('d') && "
        "+(p.getAttribute('opacity') ?? 1) > 0.1).length",
        figure,
    )


@pytest.mark.slow
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_has_marks_and_nothing_is_wider_than_the_screen(opened, viewport, scheme):
    tab = opened(viewport, scheme)
    figures = tab.evaluate(f"[...{FIGURES}].map(f => f.id)")
    assert {"figure_privacy_utility_1", "figure_learning_curves_1", "figure_client_epsilon_1"} <= set(figures)
    assert [figure for figure in figures if marks(tab, figure) == 0] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    outside = "f => f.querySelector('svg').getBoundingClientRect().right > innerWidth"
    assert tab.evaluate(f"[...{FIGURES}].filter({outside}).map(f => f.id)") == []
    assert tab.evaluate("document.documentElement.dataset.theme") == scheme


@pytest.mark.slow
def test_no_two_labels_of_the_axis_of_epsilon_lie_on_each_other_on_a_phone(opened):
    boxes = opened(PHONE).evaluate(
        "[...document.querySelectorAll('#figure_privacy_utility_1 svg .role-axis-label text')]"
        ".map(t => t.getBoundingClientRect()).filter(b => b.width > 0).map(b => [b.left, b.right, b.top, b.bottom])"
    )
    assert len(boxes) > 5
    for n, (left, right, top, bottom) in enumerate(boxes):
        for other in boxes[n + 1 :]:
            assert right <= other[0] or other[1] <= left or bottom <= other[2] + 1 or other[3] <= top + 1


@pytest.mark.slow
def test_the_toggle_changes_page_and_figures(opened):
    tab = opened()
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.querySelector('#figure_privacy_utility_1 svg .role-axis-label text').getAttribute('fill')"
    light = tab.evaluate(paper), tab.evaluate(ink)
    tab.click("#theme")  # light
    assert (tab.evaluate(paper), tab.evaluate(ink)) == light
    tab.click("#theme")  # dark
    tab.wait_for_selector("#figure_privacy_utility_1[data-drawn=dark]")
    assert tab.evaluate(paper) != light[0]
    assert tab.evaluate(ink) != light[1]


def test_a_click_in_the_legend_singles_a_setting_out_and_another_click_brings_all_back(opened):
    tab = opened()
    faint = (
        "[...document.querySelectorAll('#figure_learning_curves_1 svg .mark-line.role-mark path')]"
        ".filter(p => +p.getAttribute('opacity') < 0.2).length"
    )
    assert tab.evaluate(faint) == 0
    first = tab.locator("#figure_learning_curves_1 svg .role-legend-label text", has_text="epsilon 2")
    first.click()
    tab.wait_for_function(f"{faint} === 2")
    first.click()
    tab.wait_for_function(f"{faint} === 0")


def test_a_point_tells_its_numbers_under_the_pointer(opened):
    tab = opened()
    tab.locator("#figure_privacy_utility_1 svg .mark-symbol.role-mark path").last.hover()
    tab.wait_for_selector("#vg-tooltip-element.visible")
    assert "95 % interval" in tab.inner_text("#vg-tooltip-element")


def test_a_curve_tells_its_setting_under_the_pointer(opened):
    tab = opened()
    figure = tab.locator("#figure_learning_curves_1 svg.marks")
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    for part in (0.4, 0.5, 0.6):  # the pointer has to move
        tab.mouse.move(box["x"] + part * box["width"], box["y"] + 0.5 * box["height"])
    tab.wait_for_selector("#vg-tooltip-element.visible")
    told = tab.inner_text("#vg-tooltip-element")
    assert "epsilon" in told or "no " in told
    assert "undefined" not in told


def test_markup_in_a_config_is_text(opened):
    tab = opened()
    assert tab.evaluate("window.hacked === undefined")
    assert HOSTILE in tab.inner_text("#config")


def test_tables_sort_by_a_click(opened):
    tab = opened()
    column = "[...document.querySelectorAll('#runs table tbody tr')].map(r => r.cells[2].textContent)"
    tab.locator("#runs th", has_text="seed").first.locator("button").click()
    seeds = tab.evaluate(column)
    assert seeds == sorted(seeds)
    assert len(set(seeds)) > 1


@pytest.mark.slow
def test_print_is_light_with_everything_open(opened):
    tab = opened(scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for_selector("#figure_privacy_utility_1[data-drawn=light]")
    assert tab.locator("main details:not([open]):not(.vega-embed details)").count() == 0
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.wait_for_selector("#figure_privacy_utility_1[data-drawn=dark]")
