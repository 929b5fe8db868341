"""The page as a browser shows it, on a phone and on a desk."""

import importlib.util
import sys
from importlib import resources
from pathlib import Path

import pytest
from tests.unit.hostile import TEXT
from tests.unit.report.test_hostile_text import DECIDING, PARTS, REFUSED, spoilt, texts

from layerlottery.config.results import ReportSettings
from layerlottery.report.report import report

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
SYNTHETIC = Path(__file__).parents[1] / "unit" / "report" / "conftest.py"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason=f"needs {CHROMIUM} and {DRIVER} (packages chromium, chromium-driver)",
)


def _synthetic():
    found = importlib.util.spec_from_file_location("synthetic_benchmark", SYNTHETIC)
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    synthetic = _synthetic()
    everything = synthetic.EVERYTHING | {"kinds": ("attack", "corruption", "shift")}
    synthetic.write_benchmark(folder, synthetic.Benchmark(**everything))
    report(folder, folder / "index.html", ReportSettings())
    return (folder / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_script_timeout(120)  # axe on a busy machine
    yield driver
    driver.quit()


def show(browser, address, *, width=1440, height=900, scheme="light", opened=True):
    """Load a page on an emulated screen, since a window can't be made as narrow as a phone; `opened`: all sections."""
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    browser.get(address)
    if opened:
        browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    return browser


@pytest.fixture(params=[360, 390, 800, 1440])
def page(request, browser, address):
    return show(browser, address, width=request.param)


def test_nothing_scrolls_sideways(page):
    content, view, window = page.execute_script(
        "return [document.documentElement.scrollWidth, visualViewport.width, window.innerWidth]"
    )
    # a phone would zoom out to show what is too wide, so the window itself is looked at, too
    assert content <= view
    assert window in (360, 390, 800, 1440)
    boxes = page.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.scrollWidth > e.clientWidth + 1 && "
        "['auto', 'scroll'].includes(getComputedStyle(e).overflowX)).map(e => e.outerHTML.slice(0, 200))"
    )
    assert boxes == []


def test_figures_are_visible_and_inside_the_page(page):
    boxes = page.execute_script(
        "return [...document.querySelectorAll('figure, .panel > svg, .canvas')].map(e => "
        "e.getBoundingClientRect()).map(b => [b.width, b.height, b.left, b.right])"
    )
    width = page.execute_script("return document.documentElement.clientWidth")
    assert len(boxes) > 20
    assert all(wide > 0 and high > 0 and left >= 0 and right <= width for wide, high, left, right in boxes)


def test_text_in_figures_is_readable(page):
    # an SVG is scaled: its font counts as many pixels as the drawing shows
    sizes = page.execute_script(
        "return [...document.querySelectorAll('.panel svg text')].map(t => "
        "parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().d)"
    )
    assert len(sizes) > 100
    assert min(sizes) >= 8


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_the_first_screen_holds_sentence_forest_and_savings(browser, address, width, height):
    page = show(browser, address, width=width, height=height, opened=False)
    parts = page.execute_script(
        "return ['.headline', '#figure-forest table', '#figure-tradeoff svg'].map(name => "
        "document.querySelector(name).getBoundingClientRect()).map(b => [b.top, b.bottom, b.left])"
    )
    assert all(0 <= top < bottom <= height for top, bottom, _ in parts)
    # one below the other, or beside it
    places = [(left if width > 1000 else 0, top) for top, _, left in parts]
    assert places[1] < places[2]
    assert parts[0][1] <= parts[1][0]


def test_forest_has_a_row_for_each_ticket_that_is_told(browser, address):
    page = show(browser, address)
    rows = page.execute_script(
        "return [...document.querySelectorAll('.forest tbody tr')].map(e => [e.className.trim(), e.innerText])"
    )
    assert len(rows) == 14
    controls = [classes.startswith("control") for classes, _ in rows]
    assert controls == sorted(controls)
    assert any(controls)
    assert any("wins" in said for _, said in rows)
    # grey are controls, and one colour stands for each criterion
    colours = page.execute_script(
        "return [...document.querySelectorAll('.forest tbody tr')].map(e => [e.querySelector('th').innerText"
        ".split(/[ ,]/)[0], e.querySelector('polygon').getAttribute('stroke')])"
    )
    assert {colour for (_, colour), control in zip(colours, controls, strict=True) if control} == {"var(--random)"}
    told = {(name, colour) for (name, colour), control in zip(colours, controls, strict=True) if not control}
    assert len({name for name, _ in told}) == len(told) == len({colour for _, colour in told})


def test_verdict_comes_first(page):
    assert page.execute_script("return document.querySelector('section').id") == "verdict"
    # 20 of 48 are controls: random removal, spread or not, and fresh weights
    said = page.execute_script("return document.querySelector('.headline').textContent")
    assert " of 28 tickets (1 chosen after training) are proven to win" in said


def test_links_lead_to_sections_and_open_them(browser, address):
    page = show(browser, address, opened=False)
    targets = page.execute_script("return [...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert len(targets) == 15
    page.find_element("css selector", "nav a[href='#robustness']").click()
    assert page.execute_script("return document.querySelector('#robustness details').open")
    show(browser, f"{address}#curves", opened=False)
    assert page.execute_script("return document.querySelector('#curves details').open")


def test_tables_have_their_rows(browser, address):
    page = show(browser, address)
    rows = page.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('.grid')].map(e => "
        "[e.querySelector('h3').id, e.querySelectorAll('tbody tr').length]))"
    )
    tickets, criteria = 48, 6
    assert rows == {
        "table-networks": 12,
        "table-primary0": tickets + 1,
        "table-resilience0": tickets + 1,
        "table-detection0": tickets + 1,
        "table-table1": 4,
        "table-table2": 4,
        "table-table4": 5,
        "table-claims": 4,
        "table-summary0": tickets,
        "table-totals0": tickets,
        "table-controls0": 4 * 6 + 2 * 4,  # random removal is compared with layers only
        "table-rewinding0": 2 * criteria,
        "table-structures0": 2 * criteria,
        "table-costs": 4,
        "table-corruption0": tickets + 1,
        "table-shift0": tickets + 1,
        "table-calibration0": tickets + 1,
        "table-similarity0": tickets - 2 * criteria,
        "table-stability0": criteria,
    }


def test_on_a_phone_tables_are_cards_with_a_name_for_every_figure(browser, address):
    page = show(browser, address, width=390)
    shown = page.execute_script(
        "return [...document.querySelectorAll('.grid td')].filter(e => e.getClientRects().length).map(e => "
        "[getComputedStyle(e, '::before').content, getComputedStyle(e.parentElement).display])"
    )
    assert len(shown) > 100
    assert all(label not in ("none", '""') and display == "block" for label, display in shown)


def test_print_cuts_nothing_off(browser, address):
    page = show(browser, address, width=1047, height=740, opened=False)  # A4, landscape
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    content, width = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert content <= width
    tables = page.execute_script(
        "return [...document.querySelectorAll('.grid table')].filter(e => e.getClientRects().length).map(e => "
        "[e.getBoundingClientRect().right, getComputedStyle(e).display])"
    )
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert len(tables) > 10
    assert all(right <= 1047 and display == "table" for right, display in tables)


def test_without_scripts_the_page_stays_readable(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get("about:blank")
        browser.get(address)
        body = browser.find_element("tag name", "body").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "are proven to win" in body
    assert "Explore" not in body
    assert all(words in body for words in ("grasp (trained)", "1 removed", "Controls"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_no_violation(browser, address, width, scheme):
    page = show(browser, address, width=width, scheme=scheme)
    page.execute_script((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.execute_async_script("axe.run(document, {resultTypes: ['violations']}).then(arguments[0])")
    assert found["passes"]
    shown = [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found["violations"]]
    assert shown == []


CONTRASTS = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const probe = document.body.appendChild(document.createElement('i'));
const light = name => {
  probe.style.color = `var(--${name})`;
  canvas.fillStyle = getComputedStyle(probe).color;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
};
const paper = light('paper');
return Object.fromEntries(arguments[0].map(name => [name, light(name)])
  .map(([name, own]) => [name, Math.max(own, paper) / Math.min(own, paper)]));
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_stand_out_from_the_paper(browser, address, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(address)
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    lines = [*(f"c{index}" for index in range(20)), "random"]
    # WCAG 2.2: 3 for graphics (1.4.11), 4.5 for text (1.4.3)
    ratios = browser.execute_script(CONTRASTS, lines)
    assert {name: ratio for name, ratio in ratios.items() if ratio < 3} == {}
    texts = browser.execute_script(CONTRASTS, ["ink", "muted", "win", "lose", "accent"])
    assert {name: ratio for name, ratio in texts.items() if ratio < 4.5} == {}


def test_nothing_was_loaded_or_failed(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_hostile_names_run_nothing(browser, tmp_path):
    synthetic = _synthetic()
    honest = synthetic.write_benchmark(tmp_path / "honest", synthetic.Benchmark(**PARTS))
    for number, names in enumerate((DECIDING, texts() - DECIDING - REFUSED)):
        folder = spoilt(tmp_path / str(number), honest, names)
        report(folder, folder / "index.html", ReportSettings(title=TEXT))
        # an alert would fail what follows
        browser.get((folder / "index.html").as_uri())
        assert "<img src=x onerror=" in browser.find_element("tag name", "body").text
        count = "return document.querySelectorAll(arguments[0]).length"
        assert browser.execute_script(count, "img, iframe, object, [onerror], [onmouseover]") == 0
        assert browser.execute_script(count, "script") == 3
        assert browser.execute_script(count, "main > :not(#explore) a:not([href^='#'])") == 3
        assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
