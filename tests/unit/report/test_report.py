"""The page holds every section that has data, needs nothing else, and stays readable."""

import dataclasses
import re
import shutil
from collections import Counter
from pathlib import Path

import matplotlib
import pyarrow as pa
import pytest
from tests.unit.report.conftest import EVERYTHING

from layerlottery.config.results import ReportSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.report.accuracy import curves_picture
from layerlottery.report.cost import cost_of, speed_picture
from layerlottery.report.report import report
from layerlottery.report.robustness import (
    attack_picture,
    detection_grids,
    masking_note,
    resilience_grids,
    robustness_grids,
)
from layerlottery.report.sections import left_out
from layerlottery.report.style import inline
from layerlottery.report.tables import read_tables
from layerlottery.report.text import summary_text
from layerlottery.store.artifacts import read_table, write_table
from layerlottery.upkeep.diff import differences
from layerlottery.words import DASH, MINUS

PLANTED = ["verdict", "explore", "findings", "summary", "accuracy", "controls", "cost", "robustness", "blocks"]
PLANTED += ["similarity", "stability", "curves", "paper", "method"]
EVERY = [*PLANTED[:9], "rewinding", "structures", *PLANTED[9:]]


def page(tables: Path, folder: Path, **settings) -> str:
    output = folder / "index.html"
    report(tables, output, ReportSettings(**settings))
    return output.read_text(encoding="utf-8")


def sections(shown: str) -> list[str]:
    return re.findall(r'<section id="([a-z]+)"', shown)


def unscripted(shown: str) -> str:
    """The page without what only browsers read."""
    return re.sub(r"<(style|script)\b.*?</\1>", "", shown, flags=re.S)


def words(shown: str) -> str:
    return re.sub(r"<[^>]*>", " ", unscripted(shown))


def test_page_has_its_sections_in_order(planted_page, everything_page):
    assert sections(planted_page) == PLANTED
    assert sections(everything_page) == EVERY
    for shown in (planted_page, everything_page):
        shown = unscripted(shown)
        linked = re.findall(r'<a href="#([a-z]+)"', shown)
        assert linked == [name for name in sections(shown) if name != "verdict"]
        # the forest plot's words open and close
        assert shown.count("<figure") == shown.count("<figcaption") + 1
        assert shown.count('role="img"') == len(re.findall(r'role="img" aria-label="[^"]+"', shown)) > 15


def test_no_figure_and_no_table_is_empty(everything_page):
    shown = unscripted(everything_page)
    figures = re.findall(r"<figure [^>]*>(.*?)</figure>", shown, re.S)
    assert len(figures) > 10
    assert all('<div class="panel">' in one or '<table class="forest"' in one for one in figures)
    # the networks that the reader chooses come with the scripts
    bodies = re.findall(r"<tbody>(.*?)</tbody>", shown.replace("<thead></thead><tbody></tbody>", ""), re.S)
    assert all("<td" in body for body in bodies)


def test_nothing_reads_nan_or_none(planted_page, everything_page):
    for shown in (planted_page, everything_page):
        assert re.findall(r"\bnan\b|\bNaN\b|\bNone\b|<NA>", words(shown)) == []


def test_many_families_share_no_crowded_panel(everything, everything_page):
    tables = read_tables(everything)
    assert tables.summary["family"].nunique() == 36
    criteria = tables.summary["criterion"].nunique()
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', everything_page, re.S)
    assert max(legend.count("<li>") for legend in legends) == criteria + 1
    # one panel each for: at initialization, scored after training, filters
    for name in ("acc", "diff", "cka"):
        assert len(set(re.findall(rf'id="({name}\d+x\d+)-', everything_page))) == 3


def test_page_is_self_contained(planted_page, everything_page):
    for shown in (planted_page, everything_page):
        assert re.findall(r"<script\b([^>]*)>", shown) == [' type="application/json" id="held"', "", ""]
        shown = unscripted(shown)
        assert re.findall(r"<(?:script|link|img|iframe|object)\b|@import|url\((?!#)|\bsrc=", shown) == []
        # beside the source only what lies beside the page: the tables' folder, and the manifest beside it
        near = {one for one in re.findall(r'href="([^#"][^"]*)"', shown) if ":" not in one}
        assert len(near) == 2
        assert set(re.findall(r'href="([^#"]*:[^"]*)"', shown)) == {"https://arxiv.org/abs/2301.10835"}


def test_page_is_the_same_every_time(small, small_page):
    assert page(small, small) == small_page


def test_page_is_the_same_whatever_style_a_matplotlibrc_sets(small, small_page):
    with matplotlib.rc_context(
        {"font.size": 30, "lines.linestyle": "--", "axes.facecolor": "black", "text.usetex": True}
    ):
        assert page(small, small) == small_page


NULLS = {
    "summary": ["macs_reduction", "params_reduction", "memory_reduction", "train_speedup", "latency_speedup"],
    "similarity": ["cka"],
    "detection": ["auroc", "fpr95", "dense_auroc", "delta_auroc"],
    "robustness": ["norm", "nll", "brier", "ece", "nll_scaled", "brier_scaled", "ece_scaled"],
}


@pytest.fixture(scope="module")
def few(make, tmp_path_factory):
    """Something for every section, of two criteria."""
    return make(tmp_path_factory.mktemp("few"), **EVERYTHING | {"criteria": ("random", "snip")})


@pytest.mark.parametrize("name", NULLS)
def test_what_has_no_value_anywhere_stops_no_page(few, tmp_path, name):
    folder = Path(shutil.copytree(few, tmp_path / "shown"))
    held = read_table(folder / f"{name}.parquet").replace_schema_metadata(None)
    empty = {one: pa.nulls(len(held), held.schema.field(one).type) for one in NULLS[name]}
    columns = [empty.get(one, held[one]) for one in held.column_names]
    write_table(folder / f"{name}.parquet", pa.table(columns, held.schema), config_hash="0" * 64)
    shown = page(folder, tmp_path)
    assert sections(shown)
    assert not re.search(r"\bnan\b|\bNone\b", words(shown))
    assert summary_text(folder)
    assert differences(folder, folder) == []


def test_ids_are_unique_and_every_reference_resolves(everything_page):
    shown = everything_page
    ids = Counter(re.findall(r'\sid="([^"]+)"', unscripted(shown)))
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(re.findall(r'(?:url\(#|href="#|labelledby=")([\w.-]+)', unscripted(shown))) <= set(ids)
    assert not re.search(r"#fe0[12]", shown), "a placeholder colour was left"


def test_every_colour_is_defined(everything_page):
    used = set(re.findall(r"var\(--(\w+)\)", everything_page))
    assert used <= set(re.findall(r"--(\w+):", everything_page))


def test_hostile_names_are_escaped(make, tmp_path):
    hostile = "<script>alert(1)</script>"
    groups = ((f"{hostile}&", "net"),)
    tables = make(tmp_path, criteria=("random", hostile), groups=groups, removed=(1,), kinds=(), similar=False)
    shown = page(tables, tmp_path, title=hostile)
    assert "alert(1)</script>" not in shown
    assert shown.count("<script") == shown.count("</script>") == 3
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>" in shown


def test_what_was_not_evaluated_leaves_no_section_but_is_named(small_page):
    assert sections(small_page) == [name for name in PLANTED if name not in ("paper", "similarity")]
    assert "attacks, corruptions, shifted test sets, outliers, similarity to the dense network" in small_page
    assert "figure-attacks" not in small_page


def test_latency_that_was_not_measured_is_named(make, tmp_path):
    tables = read_tables(make(tmp_path, latency=False, removed=(1,), kinds=()))
    assert left_out(tables).endswith("shifted test sets, outliers, latency")
    assert speed_picture(cost_of(tables, "1")).caption.endswith("Not measured: latency.")


def test_one_seed_infers_nothing(make, tmp_path):
    tables = make(tmp_path, seeds=(0,), removed=(1,), criteria=("random", "snip"), kinds=(), similar=False)
    shown = page(tables, tmp_path, xi="sd")
    assert "One seed, so nothing can be inferred." in shown
    assert "at least two seeds" in shown
    assert "not computable" in shown
    assert "stability" not in sections(shown)
    assert re.findall(r"\bnan\b|\bNone\b", words(shown)) == []


def test_only_dense_networks(make, tmp_path):
    shown = page(make(tmp_path, criteria=(), kinds=(), fills=()), tmp_path)
    assert "there is no ticket to judge" in shown
    assert sections(shown) == ["verdict", "explore", "findings", "robustness", "method"]
    assert "figure-forest" not in unscripted(shown)
    assert "Missing controls" not in shown


def test_many_sizes_stay_readable(make, tmp_path):
    facts = {"criteria": ("snip",), "seeds": (0, 1), "stage_blocks": 7, "epochs": 2}
    tables = read_tables(make(tmp_path, kinds=("attack",), removed=tuple(range(1, 14)), **facts))
    curves, attacks = curves_picture(tables), attack_picture(tables)
    assert [panel.title for panel in curves.panels] == [
        f"{removed}\N{NO-BREAK SPACE}removed" for removed in (1, 3, 6, 8, 11, 13)
    ]
    assert [panel.title for panel in attacks.panels][3:] == [
        f"PGD, L∞, {removed}\N{NO-BREAK SPACE}removed" for removed in (1, 7, 13)
    ]
    for picture in (curves, attacks):
        assert picture.caption.endswith(f"Of the numbers of blocks removed, 1{DASH}13, only some are drawn.")


def test_tables_of_an_earlier_version_say_how_to_get_all(make, tmp_path):
    folder = make(tmp_path, removed=(1,), kinds=(), similar=False)
    (folder / "answers.parquet").unlink()
    with pytest.raises(LayerLotteryError, match=r"answers\.parquet: missing; recreate the tables: snakemake"):
        read_tables(folder)
    # which the summary does without
    assert "Tickets against dense networks" in summary_text(folder)


def test_missing_table_and_unknown_tolerance(planted, tmp_path):
    with pytest.raises(LayerLotteryError, match=r"runs\.parquet: no such file"):
        report(tmp_path, tmp_path / "index.html", ReportSettings())
    with pytest.raises(LayerLotteryError, match=r"xi: found 3; allowed: .*, 0, 1, sd \(statistics\.xi\)"):
        page(planted, tmp_path, xi=3.0)


def test_inlined_svg_has_its_own_ids_and_escapes_its_label():
    svg = (
        '<?xml?>\n<svg viewBox="0 0 1 1"><style>*{}</style><g id="used"/><g id="lone"/><use xlink:href="#used"/></svg>'
    )
    shown = str(inline(svg, prefix="x", label='"<b>'))
    assert 'id="x-used"' in shown
    assert 'href="#x-used"' in shown
    assert "lone" not in shown
    assert "style" not in shown
    assert "<b>" not in shown


def test_inlined_svg_shortens_coordinates_but_no_tick():
    shown = str(inline('<svg viewBox="0 0 1 1"><text x="3.14159">0.775</text></svg>', prefix="x", label="l"))
    assert '<text x="3.14">0.775</text>' in shown


def test_every_measure_stands_beside_the_dense_networks(make, tmp_path):
    tables = read_tables(make(tmp_path, removed=(1, 2)))
    (robust,), (detected,) = resilience_grids(tables), detection_grids(tables)
    (primary,) = [grid for grid in robustness_grids(tables) if grid.title == "Primary endpoints"]
    assert primary.columns[1:] == ["accuracy, corrupted"]
    assert [cell.text for cell in primary.rows[0]] == ["dense", "70.00"]
    assert robust.columns[1:] == ["mCE", "accuracy, attacked", "median minimum norm, fmn l2"]
    assert detected.columns[1:] == ["shuffled, energy"]
    assert [cell.text for cell in robust.rows[0]] == ["dense", "100.00", "30.00", "25.00"]
    rows = {row[0].text.replace("\N{NO-BREAK SPACE}", " "): row[1:] for row in robust.rows}
    # less mCE is better, less accuracy under attack is worse
    assert [cell.tone for cell in rows["snip, 1 removed"]] == ["win", "lose", "muted"]
    assert {cell.tone for cell in rows["snip, 2 removed"]} == {"muted"}
    assert rows["snip, 1 removed"][0].text.replace(MINUS, "-") == "-2.50 [-3.50, -1.50]"
    assert detected.rows[1][1].text.replace(MINUS, "-") == "+0.025 [-0.975, +1.025]"


def test_signs_of_masked_gradients_are_told(make, tmp_path):
    folder = make(tmp_path, seeds=(0,), removed=(1,), criteria=("snip",))
    tables = read_tables(folder)
    rows = tables.robustness.assign(accuracy=90 - tables.robustness["level"])
    honest = dataclasses.replace(tables, robustness=rows)
    assert masking_note(honest) == "Gradients: no sign of masking in 2 networks."
    rising = rows["criterion"].notna() & (rows["name"] == "pgd") & (rows["level"] == 8)
    masked = dataclasses.replace(tables, robustness=rows.assign(accuracy=rows["accuracy"].mask(rising, 95.0)))
    assert masking_note(masked).startswith("Gradients may be masked in 1 network of 2: accuracy under pgd rises from")
