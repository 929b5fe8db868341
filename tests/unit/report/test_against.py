"""Two runs side by side: what both have, what only one has, what tells them apart, and what is refused."""

import re
import shutil

import pandas as pd
import pytest
from tests.unit.hostile import TEXT, call
from tests.unit.report.folders import finished, replace
from tests.unit.report.test_hostile_text import Page
from tests.unit.test_escaping import steers

from layerlottery.config.results import ReportSettings
from layerlottery.report.against import against
from layerlottery.words import DASH, interval

PARTS = {"criteria": ("random", "snip"), "removed": (1, 3), "fills": (), "kinds": (), "similar": False}


@pytest.fixture(scope="module")
def pair(make, tmp_path_factory):
    """One run, and another with more criteria, worse snip at 3, other images held out and another torch."""
    root = tmp_path_factory.mktemp("pair")
    more = PARTS | {"criteria": ("random", "snip", "l1"), "planted": {("snip", 1): (-6.0, 0.2)}}
    later = {"runs": {"torch_version": "3.1", "device": "another processor"}}
    held_out = {"datasets": {"digits": {"source": "digits", "held_out": 100}}}
    return [
        finished(lambda folder: make(folder, **PARTS), root / "before"),
        finished(lambda folder: make(folder, **more), root / "after", columns=later, **held_out),
    ]


@pytest.fixture(scope="module")
def page(pair, tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "page.html"
    against(*pair, output, ReportSettings())
    return output.read_text(encoding="utf-8")


def cells(page, name):
    """The texts of a table's rows."""
    table = page.split(f'id="table-{name}"')[1].split("</table>")[0].split("<tbody")[1]
    return [re.findall(r"<span>(.*?)(?:<svg|</span>)", row, re.S) for row in table.split("<tr ")[1:]]


def summary(folder, xi="1"):
    rows = pd.read_parquet(folder / "tables" / "summary.parquet").query(f"xi == '{xi}'")
    return rows.set_index(["criterion", "removed"])


def test_each_ticket_of_both_has_both_differences_and_verdicts(page, pair):
    rows = cells(page, "effects-group0")
    one, other = map(summary, pair)
    assert [tuple(row[:2]) for row in rows] == [("snip", "1"), ("snip", "3"), ("random", "1"), ("random", "3")]
    for name, removed, _, *differences, first, second, said in rows:
        key = name, int(removed)
        ends = ["delta_accuracy", "delta_low", "delta_high"]
        assert differences == [interval(*side.loc[key, ends]) for side in (one, other)]
        assert [first, second] == [side.loc[key, "verdict_holm"] for side in (one, other)]
        assert said == ("agree" if first == second else "differ")
    assert {row[-1] for row in rows} == {"agree", "differ"}
    changed = sum(row[-1] == "differ" for row in rows)
    assert f"4 tickets are in both runs; the verdict differs in {changed}." in page


def test_both_marks_stand_on_one_axis_for_all_rows(page, pair):
    # two points fix the axis, and all others must lie on it
    held = [map(float, found) for found in re.findall(r'<circle cx="(\d+\.\d+)" cy="([\d.]+)"', page)]
    places = [x for x, _ in held]
    means = [
        summary(pair[0]).loc[key, "delta_accuracy"] for key in (("snip", 1), ("snip", 3), ("random", 1), ("random", 3))
    ]
    slope = (places[1] - places[0]) / (means[1] - means[0])
    expected = [places[0] + slope * (mean - means[0]) for mean in means]
    assert places == pytest.approx(expected, abs=0.05)
    bars = re.findall(r'mark other"><path d="M([\d.]+) 21.0H([\d.]+)"', page)
    low, high = summary(pair[1]).loc[("snip", 1), ["delta_low", "delta_high"]]
    assert [float(end) for end in bars[0]] == pytest.approx(
        [places[0] + slope * (end - means[0]) for end in (low, high)], abs=0.05
    )


def test_accuracy_and_cost_of_both(page, pair):
    rows = {tuple(row[:2]): row[2:] for row in cells(page, "costs-group0")}
    for side, folder in enumerate(pair):
        own = summary(folder).loc[("snip", 3)]
        shown = rows["snip", "3"][side::2]
        assert shown[:3] == [f"{own.accuracy:.2f}", f"{own.macs_reduction:.1f}", f"{own.train_speedup:.2f}×"]


def test_dense_networks_of_both(page, pair):
    rows = {row[0]: row[1:] for row in cells(page, "dense-group0")}
    runs = [pd.read_parquet(folder / "tables" / "runs.parquet").query("removed == 0") for folder in pair]
    assert rows["accuracy, %"] == [f"{own['accuracy'].mean():.2f}" for own in runs]
    assert rows["seeds"] == [f"0{DASH}2"] * 2


def test_tickets_of_one_run_alone_are_named(page):
    assert "only in B</dt><dd>l1 with" in page
    assert "only in A" not in page


def test_what_differs_in_settings_and_surroundings(page):
    assert cells(page, "configuration") == [["datasets.digits.held_out", "not set", "100"]]
    found = {row[0]: row[1:] for row in cells(page, "environment")}
    assert found["torch"] == ["2.0", "3.1"]
    assert found["processor"] == ["a processor, 2 cores", "another processor"]
    assert "commit" not in found


def test_a_run_beside_its_repetition_differs_in_nothing(make, tmp_path):
    pair = [finished(lambda folder: make(folder, **PARTS), tmp_path / name) for name in ("one", "two")]
    replace(pair[1] / "tables" / "runs.parquet", "runs", {"train_seconds": lambda value: 2 * value})
    finished(lambda folder: None, pair[1])
    against(*pair, tmp_path / "page.html", ReportSettings())
    page = (tmp_path / "page.html").read_text()
    assert cells(page, "configuration") == cells(page, "environment") == []
    assert page.count("They don&#39;t differ.") == 2
    assert "the verdict differs in 0" in page


def test_one_standard_deviation_is_said_to_be_each_runs_own(make, tmp_path):
    pair = [
        finished(lambda folder, seeds=seeds: make(folder, **PARTS, seeds=seeds), tmp_path / str(len(seeds)))
        for seeds in ((0, 1, 2), (0, 1, 2, 3, 4))
    ]
    against(*pair, tmp_path / "page.html", ReportSettings(xi="sd"))
    sizes = [f"{summary(folder, 'sd')['xi_points'].iloc[0]:.2f}" for folder in pair]
    assert len(set(sizes)) == 2
    assert f"ξ is {sizes[0]} points in A and {sizes[1]} in B." in (tmp_path / "page.html").read_text()


def test_where_nothing_was_learned_no_verdict_is_compared(make, tmp_path, pair):
    idle = {"summary": {"learned": False}}
    other = finished(lambda folder: make(folder, **PARTS), tmp_path / "other", columns=idle)
    against(pair[0], other, tmp_path / "page.html", ReportSettings())
    page = (tmp_path / "page.html").read_text()
    rows = cells(page, "effects-group0")
    assert [row[-3] for row in rows] == [summary(pair[0]).loc[(row[0], int(row[1])), "verdict_holm"] for row in rows]
    assert {tuple(row[-2:]) for row in rows} == {("nothing learned", DASH)}
    assert page.count('class="muted"><span>nothing learned<') == len(rows)
    said = "none has a verdict in both. It is not shown that anything was learned in B: dense is not told from chance"
    assert f"4 tickets are in both runs; {said}" in page


def test_one_seed_gives_no_verdict_that_could_differ(make, tmp_path, pair):
    one = finished(lambda folder: make(folder, **PARTS | {"seeds": (0,)}), tmp_path / "one")
    against(one, pair[0], tmp_path / "page.html", ReportSettings())
    page = (tmp_path / "page.html").read_text()
    rows = cells(page, "effects-group0")
    assert {(row[-3], row[-1]) for row in rows} == {("no verdict (one seed)", DASH)}
    assert "single seed" not in page
    assert "none has a verdict in both." in page
    assert "anything was learned" not in page


def test_only_pairs_of_verdicts_are_counted(make, tmp_path, pair):
    # the verdicts of snip differ, of which one run has none at p = 1
    rows = pd.read_parquet(pair[0] / "tables" / "summary.parquet")
    held = iter(["single seed" if row.removed == 1 else "better" for row in rows.itertuples()])
    other = finished(
        lambda folder: make(folder, **PARTS),
        tmp_path / "other",
        columns={"summary": {"verdict_holm": lambda _: next(held)}},
    )
    against(pair[0], other, tmp_path / "page.html", ReportSettings())
    page = (tmp_path / "page.html").read_text()
    assert [row[-1] for row in cells(page, "effects-group0")] == [DASH, "differ"] * 2
    assert "4 tickets are in both runs; of 2 with a verdict in both, it differs in 2." in page


def test_other_data_sets_have_nothing_in_common(make, tmp_path, pair):
    other = finished(lambda folder: make(folder, **PARTS, groups=(("mine", "resnet20"),)), tmp_path / "other")
    against(pair[0], other, tmp_path / "page.html", ReportSettings())
    page = (tmp_path / "page.html").read_text()
    assert page.count("No ticket is in both runs.") == 2
    assert "only in A" in page
    assert "only in B" in page


def test_hostile_names_are_shown_and_obeyed_nowhere(make, tmp_path, pair, page):
    names = {"criterion": lambda name: name and name + TEXT}
    worse = {table: dict(names) for table in ("runs", "summary", "resilience", "comparisons")}
    worse["runs"] = worse["runs"] | {"device": TEXT, "git_commit": "<script>alert(1)</script>"}
    one = finished(lambda folder: make(folder, **PARTS), tmp_path / "a<b>$x$|`y`", columns=worse)
    against(one, pair[1], tmp_path / "page.html", ReportSettings())
    found = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert TEXT[:20] in found.said
    assert "<script>alert(1)</script>" in found.said
    assert "a<b>$x$|`y`" in found.said
    assert found.marks - Page(page).marks == set()
    assert not steers((tmp_path / "page.html").read_text(encoding="utf-8"))


# the command


def run(*words):
    return call(["layerlottery", "report", *map(str, words)])


def test_the_command_writes_beside_the_report(pair, tmp_path):
    own = shutil.copytree(pair[0], tmp_path / "own")
    assert run("--tables", own / "tables", "--against", pair[1]) == (0, "")
    assert [path.name for path in (own / "report").iterdir()] == ["against.html"]
    assert run("--tables", own / "tables", "--against", pair[1], "--output", tmp_path / "page.html") == (0, "")
    assert (tmp_path / "page.html").exists()
    assert run("--results", own) == (0, "")
    assert (own / "report" / "index.html").is_file()
    status, line = run("--results", own, "--tables", own / "tables")
    assert (status, line) == (
        1,
        f"layerlottery: --results: found {own} beside --tables {own / 'tables'}; allowed: one of them\n",
    )


@pytest.mark.parametrize("side", ["own", "other"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: shutil.rmtree(folder / "tables"), "no runs.parquet"),
        (lambda folder: (folder / "manifest.json").unlink(), "has not ended"),
        (lambda folder: (folder / "tables" / "answers.parquet").unlink(), "recreate the tables: snakemake --cores all"),
        (lambda folder: replace(folder / "tables" / "runs.parquet", "runs", {"accuracy": 1.0}), "not the table that"),
        (lambda folder: xi_two(folder), "ξ = 1 is none of them"),
    ],
)
def test_a_run_that_can_not_be_set_beside_is_refused_in_one_line(pair, tmp_path, side, damage, said):
    broken = shutil.copytree(pair[0], tmp_path / "broken")
    damage(broken)
    own, other = (broken, pair[1]) if side == "own" else (pair[1], broken)
    status, line = run("--tables", own / "tables", "--against", other, "--output", tmp_path / "page.html")
    assert (status, line.count("\n")) == (1, 1)
    assert said in line
    assert str(broken) in line
    assert not (tmp_path / "page.html").exists()


def xi_two(folder):
    replace(folder / "tables" / "summary.parquet", "summary", {"xi": lambda value: "2" if value == "1" else value})
    finished(lambda tables: None, folder)


def test_a_run_beside_itself_is_refused(pair, tmp_path):
    for other in (pair[0], shutil.copytree(pair[0], tmp_path / "copy")):
        status, line = run("--tables", pair[0] / "tables", "--against", other)
        assert (status, line.count("\n")) == (1, 1)
        assert str(pair[0]) in line
    status, line = run("--tables", pair[0], "--against", pair[1])
    assert (status, line.count("\n")) == (1, 1)
    assert "--tables" in line
