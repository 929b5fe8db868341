"""The leaderboard and two runs side by side as a browser shows them: accessible, sortable, cards on a phone."""

import re
from importlib import resources

import pytest
from tests.browser.test_report_page import CHROMIUM, DRIVER, _synthetic, browser
from tests.unit.hostile import TEXT
from tests.unit.report.folders import finished

from layerlottery.config.results import ReportSettings
from layerlottery.report.against import against
from layerlottery.report.leaderboard import leaderboard
from layerlottery.words import MINUS

__all__ = ["browser"]
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason=f"needs {CHROMIUM} and {DRIVER} (packages chromium, chromium-driver)",
)
PARTS = {"criteria": ("random", "random_spread", "snip", "grasp"), "removed": (1, 3), "fresh": (1, 3), "fills": ()}
PARTS |= {"kinds": ("corruption",), "similar": False}
FIGURE = re.compile(rf"[+{MINUS}]?\d+(\.\d+)?[×%]?( \[.*\])?")
SIZES = {"phone": 390, "desk": 1440}
# and the narrowest window that has lines, the widest that has cards
WIDTHS = (390, 1440, 1041, 1040, 360)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Both pages of two folders of one recipe, and of two whose names are hostile."""
    root = tmp_path_factory.mktemp("pages")
    synthetic = _synthetic()

    def folder(name, settings, **changes):
        def write(tables):
            synthetic.write_benchmark(tables, synthetic.Benchmark(**PARTS | changes))

        worse = {"criterion": lambda value: value and value + TEXT} if "<" in name else {}
        columns = dict.fromkeys(("runs", "summary", "resilience", "comparisons"), worse)
        return finished(write, root / name, columns=columns | {"runs": worse | {"training_settings": settings}})

    folders = [folder("one", '{"epochs": 12}'), folder("two", '{"epochs": 12}', criteria=("random", "l1"))]
    folders += [folder("a<script>b", '{"epochs": 3}'), folder("c<script>d", '{"epochs": 3}', seeds=(0, 1, 2, 3))]
    leaderboard(folders, root / "leaderboard.html", "1")
    against(folders[0], folders[1], root / "against.html", ReportSettings())
    against(folders[2], folders[3], root / "hostile.html", ReportSettings())
    return {name: (root / f"{name}.html").as_uri() for name in ("leaderboard", "against", "hostile")}


def show(browser, address, *, width=1440, scheme="light"):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(address)
    return browser


@pytest.fixture(params=["leaderboard", "against", "hostile"])
def address(request, pages):
    return pages[request.param]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_violation(browser, address, size, scheme):
    page = show(browser, address, width=SIZES[size], scheme=scheme)
    for closed in page.find_elements("css selector", "summary"):
        closed.click()
    page.execute_script((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script("axe.run(document, {resultTypes: ['violations']}).then(arguments[0])")
    assert found["passes"]
    shown = [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]]
    assert shown == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways_on_the_page_or_in_it(browser, address, width):
    page = show(browser, address, width=width)
    content, view, window = page.execute_script(
        "return [document.documentElement.scrollWidth, visualViewport.width, window.innerWidth]"
    )
    assert content <= view
    assert window == width
    boxes = page.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).length"
    )
    assert boxes == 0


LABELLED = """
return [...document.querySelectorAll('.board tbody td, .board tbody th')].map(cell => [
  getComputedStyle(cell, '::before').content, cell.dataset.label, cell.getBoundingClientRect().right])
"""


def test_rows_are_cards_on_a_phone_and_lines_on_a_desk(browser, address):
    page = show(browser, address, width=390)
    cells = page.execute_script(LABELLED)
    assert len(cells) > 50
    assert all(label and right <= 390 for _, label, right in cells)
    assert {content for content, _, _ in cells} - {"none"}
    assert "none" not in {content for content, _, _ in cells}
    page = show(browser, address, width=1440)
    assert {content for content, _, _ in page.execute_script(LABELLED)} == {"none"}


def column(page, name):
    """The texts of a column of the first table that sorts."""
    return page.execute_script(
        "const table = document.querySelector('table[data-sortable]');"
        "const at = [...table.tHead.rows[0].cells].findIndex(e => e.textContent.trim() === arguments[0]);"
        "return [...table.tBodies[0].rows].map(row => row.cells[at].textContent.trim())",
        name,
    )


def click(page, name):
    page.execute_script(
        "[...document.querySelector('table[data-sortable]').tHead.querySelectorAll('button')]"
        ".find(e => e.textContent.trim() === arguments[0]).click()",
        name,
    )
    return page.execute_script(
        "return [...document.querySelectorAll('table[data-sortable]')][0].querySelector('[aria-sort]').ariaSort"
    )


def test_a_click_sorts_by_number_or_by_name_and_a_second_one_turns_it(browser, pages):
    page = show(browser, pages["leaderboard"])
    before = column(page, "accuracy, %")
    assert click(page, "accuracy, %") == "ascending"
    up = column(page, "accuracy, %")
    assert up == sorted(before, key=float)
    assert click(page, "accuracy, %") == "descending"
    assert column(page, "accuracy, %") == up[::-1]
    assert click(page, "folder") == "ascending"
    names = column(page, "folder")
    assert names == sorted(names)
    assert click(page, "rank") == "ascending"
    assert column(page, "rank") == sorted(column(page, "rank"), key=float)


def test_what_was_not_measured_stays_last_either_way(browser, pages):
    page = show(browser, pages["leaderboard"])
    page.execute_script(
        "const cell = document.querySelector('table[data-sortable] tbody tr').cells[8];"
        "delete cell.dataset.sort; cell.firstChild.textContent = '\\u2013'"
    )
    for _ in range(2):
        click(page, "mCE, %")
        found = column(page, "mCE, %")
        assert found.index("\u2013") == len(found) - 1


def test_keys_sort_too(browser, pages):
    page = show(browser, pages["leaderboard"])
    button = page.find_element("css selector", "table[data-sortable] thead button")
    button.send_keys("\ue007")
    assert page.execute_script("return document.querySelector('[aria-sort]').textContent.trim()") == "rank"


def test_without_a_script_every_row_is_there(browser, address):
    show(browser, address)
    count = "return document.querySelectorAll('.board tbody tr').length"
    rows = browser.execute_script(count)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert browser.execute_script(count) == rows
        assert browser.execute_script("return document.querySelectorAll('thead button').length") == 0
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_rows_are_lines_that_fit(browser, address):
    # A4 between its margins
    show(browser, address, width=718)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        content, view = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert content <= view
        assert {before for before, _, _ in browser.execute_script(LABELLED)} == {"none"}
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_loaded_or_run_but_the_page(browser, address):
    page = show(browser, address)
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    count = "return document.querySelectorAll(arguments[0]).length"
    assert page.execute_script(count, "img, iframe, object, [onerror], [onmouseover], a:not([href^='#'])") == 0
    assert page.execute_script(count, "script") == 1


def test_hostile_names_are_text(browser, pages):
    for name in ("leaderboard", "hostile"):
        page = show(browser, pages[name])
        said = page.find_element("tag name", "body").text
        assert "a<script>b" in said
        assert "<img src=x onerror=" in said


SIDES = """
return [...document.querySelectorAll('.board table')].flatMap(table =>
  [...table.rows].map(row => [...row.cells].map(cell => [
    cell.localName, cell.className, cell.textContent.trim(), getComputedStyle(cell).textAlign])).flat())
"""


def test_figures_stand_on_the_right_and_names_on_the_left(browser, address):
    held = show(browser, address, width=1440).execute_script(SIDES)
    figures = [side for _, _, text, side in held if FIGURE.fullmatch(text)]
    assert len(figures) > 20
    assert set(figures) == {"right"}
    names = [side for _, classes, _, side in held if {"name", "text"} & {*classes.split()}]
    assert set(names) == {"left"}
