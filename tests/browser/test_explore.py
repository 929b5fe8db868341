"""The interactive part of the page: axes, box, filter, tables that sort and copy, and the view in the address."""

import json
import time

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.ui import Select, WebDriverWait
from tests.browser.test_report_page import CHROMIUM, DRIVER, address, browser, show

__all__ = ["address", "browser"]
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason=f"needs {CHROMIUM} and {DRIVER} (packages chromium, chromium-driver)",
)
COUNT = "return document.getElementById('count').textContent"
NETWORKS = "return [...document.querySelectorAll('#networks tbody tr')].map(e => e.innerText)"
TICKETS = "[...document.querySelectorAll('#table-summary0 ~ table tbody tr')]"
ADDRESS = "return location.href"
BOX = "return new URLSearchParams(location.hash.slice(1)).get('box')"
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(params=[390, 1440], ids=["phone", "desk"])
def page(request, browser, address):
    return drawn(show(browser, address, width=request.param))


def drawn(page):
    marks = "return document.querySelectorAll('#view1 .mark-symbol path').length && "
    marks += "document.querySelectorAll('#view2 .mark-symbol path').length"
    WebDriverWait(page, 20).until(lambda _: page.execute_script(marks))
    return page


def until(page, script, wanted):
    WebDriverWait(page, 10).until(lambda _: page.execute_script(script) == wanted, page.execute_script(script))


def until_address(page, words):
    """Wait for the address as the page holds it; the browser's own copy, current_url, follows some time later."""
    WebDriverWait(page, 10).until(lambda _: words in page.execute_script(ADDRESS), f"no {words} in the address")


def rows(page):
    """The networks as the page holds them."""
    held = json.loads(page.execute_script("return document.getElementById('held').textContent"))
    words = {name: one for name, one in held["columns"].items() if isinstance(one, dict)}
    plain = {name: one for name, one in held["columns"].items() if name not in words}
    plain |= {name: [one["words"][code] for code in one["codes"]] for name, one in words.items()}
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def drag(page, view, part):
    """A box over a part of a figure's plot, from its upper left corner; parts of its width and height."""
    plot = page.find_element("css selector", f"#view{view} .mark-group.role-frame .background")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    (wide, high), (x, y) = (plot.size[name] for name in ("width", "height")), part
    start = ActionChains(page).move_to_element_with_offset(plot, int(-wide / 2) + 2, int(-high / 2) + 2)
    start.click_and_hold().move_by_offset(int(wide * x / 2), int(high * y / 2))
    start.move_by_offset(int(wide * x / 2), int(high * y / 2)).release().perform()
    # the page follows once the hand rests
    held = None
    while held is None or held != page.execute_script(BOX):
        held = page.execute_script(BOX)
        time.sleep(0.4)


def test_a_dot_for_each_network(page):
    held = rows(page)
    for view in (1, 2):
        dots = page.execute_script(f"return document.querySelectorAll('#view{view} .mark-symbol path').length")
        assert dots == len(held) == 147
    assert page.execute_script(COUNT) == "147 of 147 networks"


def test_axes_can_be_chosen(page):
    names = [one.text for one in Select(page.find_element("id", "x1")).options]
    assert {"Δ to dense, pp", "accuracy, %", "MACs saved, %", "training memory, MB", "latency, ms"} <= set(names)
    assert {"parameters, thousands", "training time, s", "energy of the training, Wh", "mCE, % of dense"} <= set(names)
    Select(page.find_element("id", "x1")).select_by_visible_text("energy of the training, Wh")
    titles = "return [...document.querySelectorAll('#view1 .role-axis-title text')].map(e => e.textContent)"
    until(page, titles, ["energy of the training, Wh", "Δ to dense, pp"])
    until_address(page, "x1=energy_kwh")


def test_a_box_in_one_figure_leads_the_other_and_the_tables(page):
    drag(page, 1, (1, 0.5))
    WebDriverWait(page, 10).until(lambda _: page.execute_script(COUNT) != "147 of 147 networks")
    pale = "return [1, 2].map(view => [...document.querySelectorAll(`#view${view} .mark-symbol path`)].filter(e => "
    pale += (
        "parseFloat(getComputedStyle(e).opacity) < 0.5 || parseFloat(getComputedStyle(e).fillOpacity) < 0.5).length)"
    )
    shown = int(page.execute_script(COUNT).split()[0])
    until(page, pale, [147 - shown] * 2)
    _, x_low, x_high, y_low, y_high = map(float, page.execute_script(BOX).split())
    inside = [
        one
        for one in rows(page)
        if x_low <= one["macs_reduction"] <= x_high and y_low <= one["delta_accuracy"] <= y_high
    ]
    assert 0 < shown == len(inside) < 147
    listed = page.execute_script(f"return {TICKETS}.filter(e => e.getClientRects().length).map(e => e.dataset.ticket)")
    assert set(listed) == {one["ticket"] for one in inside} - {"digits · resnet32, dense"}
    page.find_element("id", "clear").click()
    until(page, COUNT, "147 of 147 networks")


def test_the_view_lives_in_the_address(page):
    Select(page.find_element("id", "y2")).select_by_visible_text("mCE, % of dense")
    drag(page, 2, (0.5, 1))
    WebDriverWait(page, 10).until(lambda _: page.execute_script(BOX) is not None)
    page.find_element("css selector", "#table-summary0 ~ table thead th:nth-child(3) button") and page.execute_script(
        "document.querySelector('#table-summary0 ~ table thead th:nth-child(3) button').click()"
    )
    page.execute_script("document.querySelector('#similarity details').open = true")
    until_address(page, "sort.table-summary0")
    before = [page.execute_script(script) for script in (COUNT, BOX, NETWORKS, FIRST)]
    there = page.execute_script(ADDRESS)
    page.get("about:blank")
    page.get(there)
    drawn(page)
    until(page, COUNT, before[0])
    assert [page.execute_script(script) for script in (COUNT, BOX, NETWORKS, FIRST)] == before
    assert Select(page.find_element("id", "y2")).first_selected_option.text == "mCE, % of dense"
    assert page.execute_script(
        "return document.querySelectorAll('#view2 .mark-rect path, #view2 .box_brush path').length"
    )
    until(page, ADDRESS, there)


FIRST = f"return {TICKETS}.slice(0, 5).map(e => e.cells[0].textContent)"


def test_the_filter_narrows_figures_and_tables(page):
    page.find_element("id", "filter").send_keys("snip seed=2")
    wanted = [one for one in rows(page) if one["criterion"] == "snip" and one["seed"] == "2"]
    until(page, COUNT, f"{len(wanted)} of 147 networks")
    until(page, "return document.querySelectorAll('#view1 .mark-symbol path').length", len(wanted))
    until_address(page, "show=snip")


def test_hovering_names_the_network_and_its_command(browser, address):
    page = drawn(show(browser, address))
    page.execute_script("document.getElementById('view2').scrollIntoView({block: 'center'})")

    def hovered(_):
        dot = page.find_elements("css selector", "#view2 .mark-symbol path")[-1]
        ActionChains(page).move_by_offset(3, 3).move_to_element(dot).perform()
        return "snakemake" in page.find_element("id", "vg-tooltip-element").text

    WebDriverWait(page, 20, ignored_exceptions=[StaleElementReferenceException]).until(hovered)
    said = page.find_element("id", "vg-tooltip-element").text
    assert "seed" in said
    assert "networks/dataset=digits/network=resnet32/seed=" in said
    assert said.strip().endswith("/weights.safetensors")


def test_networks_lead_to_their_pages(browser, address):
    page = drawn(show(browser, address))
    link = page.find_element("css selector", "#networks tbody a")
    name = link.text
    page.execute_script("arguments[0].click()", link)
    until(page, "return document.querySelectorAll('h1').length", 1)
    assert name.replace(NBSP, " ") in page.find_element("tag name", "h1").text.replace(NBSP, " ")
    said = page.find_element("tag name", "body").text
    assert all(words in said for words in ("accuracy", "Learning curve", "Provenance", "snakemake --cores all"))
    page.find_element("link text", "report").click()
    until(page, "return document.querySelectorAll('#figure-forest').length", 1)


def test_tables_sort_by_number(browser, address):
    page = show(browser, address)
    cells = (
        "return [...document.querySelectorAll('#table-summary0 ~ table tbody td:nth-child(4)')].map(e => e.textContent)"
    )
    head = page.find_element("css selector", "#table-summary0 ~ table thead th:nth-child(4) button")
    for sign, way in ((-1, "descending"), (1, "ascending")):
        page.execute_script("arguments[0].click()", head)
        found = [float(one.split()[0].replace("\N{MINUS SIGN}", "-")) for one in page.execute_script(cells)]
        assert len(found) == 48
        assert found == sorted(found, key=lambda value: sign * value)
        assert page.execute_script("return arguments[0].parentElement.ariaSort", head) == way


def test_tables_filter_and_copy(browser, address):
    page = show(browser, address)
    page.execute_script("navigator.clipboard.writeText = async words => { window.copied = words; }")
    grid = page.find_element("css selector", ".grid:has(> #table-stability0)")
    grid.find_element("css selector", "input").send_keys("snip")
    copied = {}
    for kind in ("CSV", "LaTeX"):
        button = grid.find_element("css selector", f"button[aria-label$='{kind}']")
        button.click()
        copied[kind] = page.execute_script("return window.copied")
    lines = copied["CSV"].splitlines()
    assert lines[0] == '"criterion","Kendall\'s W","p value","rankings","blocks"'
    assert len(lines) == 2
    assert lines[1].startswith('"snip","0.88"')
    assert copied["LaTeX"].splitlines()[0] == r"\begin{tabular}{lrrrr}"
    assert r"snip & 0.88 & $<$ 0.001 & 3 & 12 \\" in copied["LaTeX"]


def test_a_strange_address_does_no_harm(browser, address):
    for fragment in ("x1=nothing&box=1 2 3", "box=9 9 9 9 9", "sort.table-summary0=77 ascending", "%E0%A4%A", "a=<b>"):
        page = drawn(show(browser, f"{address}#{fragment}"))
        assert page.execute_script(COUNT) == "147 of 147 networks"
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_copied_figures_have_a_column_each(browser, address):
    page = show(browser, address)
    page.execute_script("navigator.clipboard.writeText = async words => { window.copied = words; }")
    page.find_element("css selector", ".grid:has(> #table-summary0) button[aria-label$='CSV']").click()
    heads, first = page.execute_script("return window.copied").splitlines()[:2]
    named = '"ticket","seeds","accuracy, %","accuracy, % sd","Δ, pp","Δ, pp low","Δ, pp high"'
    assert heads.startswith(named)
    assert len(heads.split('","')) == len(first.split('","'))
    assert [float(one) for one in first.split('","')[1:7]]


def test_the_list_of_networks_is_whole_where_it_is_copied_and_sorted(browser, address):
    page = drawn(show(browser, address))
    page.execute_script("navigator.clipboard.writeText = async words => { window.copied = words; }")
    page.execute_script("document.querySelector('#networks button[aria-label$=CSV]').click()")
    assert len(page.execute_script("return window.copied").splitlines()) == 1 + 147
    page.execute_script("document.querySelectorAll('#networks thead button')[3].click()")
    shown = page.execute_script(
        "return [...document.querySelectorAll('#networks tbody tr')].map(e => e.cells[3].textContent)"
    )
    best = sorted((one["accuracy"] for one in rows(page)), reverse=True)[:12]
    assert [float(one) for one in shown] == pytest.approx(best, rel=1e-3)
    until_address(page, "by=accuracy")


def test_links_to_sections_leave_the_view_as_it_is(browser, address):
    page = drawn(show(browser, address, opened=False))
    page.find_element("id", "filter").send_keys("snip")
    before = page.execute_script(COUNT)
    assert before != "147 of 147 networks"
    page.find_element("css selector", "nav a[href='#cost']").click()
    assert page.execute_script("return document.querySelector('#cost details').open")
    assert page.execute_script(COUNT) == before


def test_nothing_found_says_so(browser, address):
    page = drawn(show(browser, address))
    page.find_element("id", "filter").send_keys("nobody")
    until(page, COUNT, "0 of 147 networks")
    assert page.find_element("id", "more").text.startswith("No network is called so")


def test_dense_rows_stay_beside_the_differences(browser, address):
    page = drawn(show(browser, address))
    page.find_element("id", "filter").send_keys("snip")
    until(page, "return document.querySelectorAll('tr.elsewhere').length > 0", True)
    seen = page.execute_script(
        "return [...document.querySelectorAll('#table-corruption0 ~ table tbody tr')]"
        ".filter(e => e.getClientRects().length).map(e => e.cells[0].textContent)"
    )
    assert seen[0].startswith("dense")
    assert len(seen) > 1
