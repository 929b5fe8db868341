"""The page and the summary say what the tables hold, and no more."""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.report.blocks import natural
from layerlottery.report.report import report
from layerlottery.report.series import (
    accuracy_by_density,
    against_random,
    attack_by_epsilon,
    confidence_of,
    cost_by_density,
    curves_by_epoch,
    difference_by_condition,
    removal_shares,
)
from layerlottery.report.style import RANDOM, inline, looks
from layerlottery.report.tables import read_tables, spread
from layerlottery.report.text import summary_text
from layerlottery.report.verdict import Finding, findings
from layerlottery.report.words import densities, scaled, seconds, signed
from layerlottery.results.artifacts import read_table
from layerlottery.settings import ReportSettings

SECTIONS = ["verdict", "key", "accuracy", "summary", "cost", "robustness", "curves", "blocks", "method"]


def page(tables: Path, folder: Path, **settings) -> str:
    output = folder / "index.html"
    report(tables, output, ReportSettings(**settings))
    return output.read_text(encoding="utf-8")


def said(finding: Finding, term: str) -> str:
    return dict(finding.statements).get(term, "").replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_names_the_planted_winner_and_loser(planted):
    (finding,) = findings(read_tables(planted), "1")
    assert finding.headline.startswith("1 of 16 tickets won, 2 lost, 13 undecided")
    assert "3 seeds" in finding.headline
    assert said(finding, "Won") == "grasp at p = 1."
    assert said(finding, "Lost") == "snip at p = 3; random at p = 1."
    assert "snip at p = 1\N{EN DASH}2, 4" in said(finding, "Undecided")
    assert said(finding, "Best and deepest").startswith("grasp at p = 1, +0.7")


def test_control_claims_only_intervals_apart_from_zero(planted):
    (finding,) = findings(read_tables(planted), "1")
    better, worse = said(finding, "Against random").split("; clearly worse than random: ")
    assert better.startswith("Clearly better than random: grasp at p = 1 (+2.7")
    assert "snip" not in better
    assert worse.startswith("snip at p = 3")
    assert "10 of 12 comparisons we can't tell" in worse
    assert "about 0.3 would look better by chance" in worse


def test_one_seed_infers_nothing(make, tmp_path):
    tables = make(tmp_path, seeds=(0,))
    (finding,) = findings(read_tables(tables), "1")
    assert finding.headline.startswith("One seed, so nothing can be inferred.")
    assert "1 of 16 tickets stayed within" in finding.headline
    assert not said(finding, "Won")
    assert "With one seed" in said(finding, "Against random")
    (spread_finding,) = findings(read_tables(tables), "sd")
    assert "can't be computed from one seed" in spread_finding.headline
    shown = page(tables, tmp_path, xi="sd")
    assert "at least two seeds" in shown
    assert "not computable" in shown
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", shown, flags=re.S)


def test_without_random_the_control_says_so(make, tmp_path):
    (finding,) = findings(read_tables(make(tmp_path, criteria=("snip", "grasp"))), "1")
    assert said(finding, "Against random").startswith("No random removal was trained")


def test_random_that_wins_is_not_hidden(make, tmp_path):
    (finding,) = findings(read_tables(make(tmp_path, planted={("random", 1): (0.5, 0.1)})), "1")
    assert said(finding, "Random won too").startswith("random at p = 1")


def test_page_has_every_section_in_order(planted_page):
    shown = planted_page
    assert re.findall(r'<section id="([a-z]+)">', shown) == SECTIONS
    assert shown.count("<figure") == shown.count("<figcaption") == 7
    assert shown.count('role="img"') == len(re.findall(r'role="img" aria-label="[^"]+"', shown)) > 15


def test_page_is_self_contained_and_the_same_every_time(planted, planted_page, tmp_path):
    shown = planted_page
    loads = re.findall(r"<(?:script|link|img|iframe|object)\b|@import|url\((?!#)|\bsrc=", shown)
    assert loads == []
    assert set(re.findall(r'href="([^#"][^"]*)"', shown)) == {"https://arxiv.org/abs/2301.10835"}
    assert shown == page(planted, tmp_path)


def test_ids_are_unique_and_every_reference_resolves(planted_page):
    shown = planted_page
    ids = Counter(re.findall(r'\sid="([^"]+)"', shown))
    assert [name for name, count in ids.items() if count > 1] == []
    assert set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', shown)) <= set(ids)
    assert not re.search(r"#fe0[12]", shown), "a placeholder colour was left"


def test_hostile_names_are_escaped(make, tmp_path):
    hostile = "<script>alert(1)</script>"
    tables = make(
        tmp_path, criteria=("random", hostile), groups=((f"{hostile}&", "net"),), seeds=(0, 1), densities=(1,)
    )
    shown = page(tables, tmp_path, title=hostile)
    assert "<script" not in shown
    assert "<title>&lt;script&gt;alert(1)&lt;/script&gt;</title>" in shown


def test_missing_evaluations_are_named(make, tmp_path):
    shown = page(make(tmp_path, kinds=(), latency=False, densities=(1,)), tmp_path)
    assert "Attacks were not evaluated" in shown
    assert "Corruptions and shifted test sets were not evaluated" in shown
    assert "Not measured: latency." in shown
    assert re.findall(r'<section id="([a-z]+)">', shown) == SECTIONS


def test_several_networks_structures_and_rewinds(make, tmp_path):
    groups = (("digits", "resnet20"), ("digits", "resnet32"))
    tables = make(tmp_path, groups=groups, structures=("layers", "filters"), trained=True, densities=(1, 2), kinds=())
    shown = page(tables, tmp_path)
    assert "l1 (trained, rewind 5)" in shown
    assert "grasp (filters)" in shown
    assert len(findings(read_tables(tables), "0")) == 2
    entries = looks(read_tables(tables).runs)
    assert entries["grasp"].colour == entries["grasp (filters)"].colour
    assert entries["grasp"].dash != entries["grasp (filters)"].dash


def test_only_dense_networks(make, tmp_path):
    tables = make(tmp_path, criteria=(), kinds=())
    shown = page(tables, tmp_path)
    assert "there is no ticket to judge" in shown
    assert "nothing to summarize" in summary_text(tables)


def test_many_tickets_stay_readable(make, tmp_path):
    tables = make(tmp_path, densities=tuple(range(1, 14)), seeds=(0, 1), stage_blocks=7)
    shown = page(tables, tmp_path)
    assert len(set(re.findall(r"id=\"curve0x(\d+)-", shown))) == 6
    assert "at most 6 are drawn" in shown
    assert "at most 3 are drawn" in shown


def test_missing_table_and_unknown_tolerance(planted, tmp_path):
    with pytest.raises(LayerLotteryError, match=r"runs\.parquet: no such file"):
        report(tmp_path, tmp_path / "index.html", ReportSettings())
    with pytest.raises(LayerLotteryError, match=r"report\.xi: 3 is not among .* \(0, 1, sd\)"):
        page(planted, tmp_path, xi=3.0)


def test_summary_text_fits_and_holds_every_ticket(planted):
    lines = summary_text(planted).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) == 4 + 16
    (winner,) = [line for line in lines if line.startswith("grasp                 1")]
    assert re.search(r"\+0\.7\d \[\+0\.\d\d, \+1\.\d\d\]\s+3/3 winning\s+6\.8 %", winner)


def test_summary_text_shortens_long_names(make, tmp_path):
    lines = summary_text(make(tmp_path, criteria=("c" * 60,))).splitlines()
    assert max(map(len, lines)) <= 100


TOY = pd.DataFrame(
    {
        "dataset": "toy",
        "network": "net",
        "seed": [0, 1] * 4,
        "structure": ["none"] * 2 + ["layers"] * 6,
        "criterion": [None] * 2 + ["snip"] * 2 + ["draw_a"] * 2 + ["draw_b"] * 2,
        "criterion_settings": [None] * 2 + ['{"function":"snip"}'] * 2 + ['{"function":"random"}'] * 4,
        "family": ["dense"] * 2 + ["snip"] * 2 + ["draw_a"] * 2 + ["draw_b"] * 2,
        "rewind": 0,
        "density": [0, 0] + [2] * 6,
        "accuracy": [90.0, 92.0, 91.0, 91.5, 89.0, 90.0, 87.0, 91.0],
        "delta_accuracy": [0, 0, 1.0, -0.5, -1.0, -2.0, -3.0, -1.0],
        "removed": [[], [], ["a", "b"], ["b", "c"], ["a"], ["a"], [], []],
    }
)


def test_accuracy_series_by_hand():
    rows = accuracy_by_density(TOY).set_index("family")
    assert rows.loc["snip", ["mean", "low", "high", "seeds"]].tolist() == [91.25, 91.0, 91.5, 2]
    assert rows.loc["dense", "mean"] == 91.0


def test_against_random_by_hand():
    (row,) = against_random(TOY, 0.95).to_dict("records")
    # controls per seed: (-1 - 3) / 2 = -2 and (-2 - 1) / 2 = -1.5; differences 3 and 1; t = 12.706 at one degree
    assert (row["family"], row["seeds"], row["difference"]) == ("snip", 2, 2.0)
    assert (row["low"], row["high"]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)
    assert row["outcome"] == "can't tell"


def test_looks_put_random_last_and_grey():
    entries = looks(TOY)
    assert list(entries) == ["snip", "draw_a", "draw_b"]
    assert entries["draw_a"].colour == entries["draw_b"].colour == RANDOM != entries["snip"].colour


def test_removal_shares_by_hand():
    shares = removal_shares(TOY).set_index(["family", "removed"])["share"].to_dict()
    assert shares == {("snip", "a"): 0.5, ("snip", "b"): 1.0, ("snip", "c"): 0.5, ("draw_a", "a"): 1.0}


def test_robustness_series_by_hand():
    rows = pd.DataFrame(
        {
            "seed": [0, 1, 0, 1, 0, 0],
            "family": ["snip"] * 6,
            "density": 1,
            "kind": ["attack", "attack", "attack", "attack", "corruption", "corruption"],
            "name": ["pgd", "pgd", "pgd", "pgd", "jpeg", "jpeg"],
            "level": [2.0, 2.0, 0.0, 0.0, 1.0, 2.0],
            "accuracy": [50.0, 60.0, 90.0, 92.0, 80.0, 70.0],
            "delta_accuracy": [0.0, 0.0, 0.0, 0.0, -1.0, -4.0],
        }
    )
    series = attack_by_epsilon(rows, "pgd").set_index("level")["mean"].to_dict()
    assert series == {0.0: 91.0, 2.0: 55.0}
    assert difference_by_condition(rows, "corruption").loc[("snip", 1), "jpeg"] == -2.5


def test_curves_by_hand():
    columns = {"family": "snip", "density": 1, "epoch": [1, 1, 2], "test_accuracy": [10.0, 20.0, 50.0]}
    assert curves_by_epoch(pd.DataFrame(columns))["mean"].tolist() == [15.0, 50.0]


def test_cost_by_hand():
    rows = pd.DataFrame(
        {
            "structure": "layers",
            "density": [1, 1],
            "macs_reduction": [20.0, 20.0],
            "params_reduction": [10.0, 30.0],
            "memory_reduction": [15.0, 15.0],
            "energy_reduction": [float("nan")] * 2,
            "train_speedup": [0.5, 2.0],
            "latency_speedup": [float("nan"), 1.1],
        }
    )
    (row,) = cost_by_density(rows).to_dict("records")
    assert (row["params_reduction"], row["params_reduction_min"], row["params_reduction_max"]) == (20.0, 10.0, 30.0)
    assert row["predicted_speedup"] == pytest.approx(1.25)
    assert row["train_speedup"] == pytest.approx(1.0)
    assert row["latency_speedup"] == pytest.approx(1.1)


def test_confidence_is_the_summary_s(planted):
    assert confidence_of(read_table(planted / "summary.parquet").to_pandas()) == 0.95


def test_words():
    assert densities([3, 1, 2, 5]) == "1\N{EN DASH}3, 5"
    assert signed(-0.001) == "0.00"
    assert signed(-1.5) == "\N{MINUS SIGN}1.50"
    assert (seconds(59), seconds(5400), seconds(259_200)) == ("59.0 s", "1.5 h", "3.0 days")
    assert scaled(0.0123, "Wh", (("k", 1.0), ("", 1e-3), ("m", 1e-6))) == "12.3 Wh"
    assert spread(list(range(1, 22)), 6) == [1, 5, 9, 13, 17, 21]
    assert sorted(["stage1.10", "stage1.2"], key=natural) == ["stage1.2", "stage1.10"]


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
