"""Tables for publications: cells by hand, bold by statsmodels, what is refused, and what the formats print."""

import csv
import io
import re
from itertools import combinations

import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats
from statsmodels.stats.multitest import multipletests
from tests.unit.report.folders import replace

from layerlottery.cli import table as command
from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.report import publication as module
from layerlottery.report.publication import Asked, publication
from layerlottery.report.typeset import FORMATS, latex, markdown


def made(folder, **asked):
    return publication(folder, Asked(**{"rows": "criterion", "columns": "removed"} | asked))


def runs_of(folder):
    runs = pd.read_parquet(folder / "runs.parquet")
    return runs[runs["removed"] > 0]


def named(cells):
    columns = [column.replace("\N{NO-BREAK SPACE}", " ") for column in cells["column"]]
    return dict(zip(zip(cells["row"], columns, strict=True), cells.to_dict("records"), strict=True))


def test_cells_are_means_and_standard_deviations_over_seeds(planted):
    cells = named(made(planted).cells)
    for (criterion, removed), own in runs_of(planted).groupby(["criterion", "removed"]):
        cell = cells[criterion, f"{removed} removed"]
        assert cell["mean"] == pytest.approx(own["accuracy"].mean())
        assert cell["sd"] == pytest.approx(own["accuracy"].std(ddof=1))
        assert cell["text"] == f"{own['accuracy'].mean():.2f} ± {own['accuracy'].std(ddof=1):.2f}"
        assert (cell["seeds"], cell["bold"]) == (3, False)
    assert len(cells) == 16


def test_draws_are_averaged_within_a_seed_first(make, tmp_path):
    folder = make(tmp_path, draws=3, removed=(1,), criteria=("snip", "random"), kinds=(), fills=())
    cell = named(made(folder).cells)["random", "1 removed"]
    own = runs_of(folder).query("criterion == 'random'").groupby("seed")["accuracy"].mean()
    assert (cell["mean"], cell["sd"], cell["seeds"]) == (pytest.approx(own.mean()), pytest.approx(own.std(ddof=1)), 3)


def test_criteria_go_by_name_with_controls_last_and_numbers_ascend(make, tmp_path):
    folder = make(tmp_path, removed=(2, 10, 1), kinds=(), fills=(), stage_blocks=12)
    table = made(folder)
    assert list(table.cells["row"].cat.categories) == ["grasp", "l1", "snip", "random"]
    assert [one.split("\N{NO-BREAK SPACE}")[0] for one in table.cells["column"].cat.categories] == ["1", "2", "10"]


def by_statsmodels(folder):
    """Which cells are shown to be lower than the highest mean of their column, by loops over all pairs."""
    wide = runs_of(folder).pivot_table(index=["removed", "criterion"], columns="seed", values="accuracy")
    pairs = [(size, *pair) for size in wide.index.levels[0] for pair in combinations(wide.loc[size].index, 2)]
    p_values = [stats.ttest_rel(wide.loc[size, one], wide.loc[size, other]).pvalue for size, one, other in pairs]
    rejected = multipletests(p_values, alpha=0.05, method="holm")[0]
    lost = set()
    for size in wide.index.levels[0]:
        top = wide.loc[size].mean(axis=1).idxmax()
        lost |= {
            (size, one if other == top else other)
            for (at, one, other), apart in zip(pairs, rejected, strict=True)
            if apart and at == size and top in (one, other)
        }
    return lost, len(pairs)


@pytest.fixture(scope="module")
def apart(make, tmp_path_factory):
    """Eight seeds, with two criteria that are best by far and not told from each other."""
    planted = {
        ("snip", 1): (1.0, 0.05),
        ("grasp", 1): (0.99, 0.06),
        ("random", 1): (-4.0, 0.05),
        ("l1", 1): (-3.0, 0.1),
    }
    return make(
        tmp_path_factory.mktemp("apart"), seeds=tuple(range(8)), removed=(1, 2), planted=planted, fills=(), kinds=()
    )


@pytest.mark.parametrize("folder", ["planted", "apart"])
def test_bold_are_the_best_and_those_not_shown_to_be_lower(folder, request):
    folder = request.getfixturevalue(folder)
    lost, pairs = by_statsmodels(folder)
    table = made(folder, bold="holm")
    for (criterion, column), cell in named(table.cells).items():
        assert cell["bold"] == ((int(column.split()[0]), criterion) not in lost)
    assert f"all {pairs} pairs within the columns, paired by seed," in table.caption
    assert "at the level 0.05" in table.caption


def test_some_cells_are_told_apart_and_some_are_not(apart):
    bold = {key for key, cell in named(made(apart, bold="holm").cells).items() if cell["bold"]}
    first = {criterion for criterion, column in bold if column == "1 removed"}
    assert first == {"snip", "grasp"}
    # the same tests, whatever is taken from both
    assert {key for key, cell in named(made(apart, bold="holm", value="delta").cells).items() if cell["bold"]} == bold


def test_best_is_the_highest_mean_of_a_column_alone(apart):
    cells = made(apart, bold="best").cells
    for _, own in cells.groupby("column", observed=True):
        assert own.loc[own["bold"], "mean"].tolist() == [own["mean"].max()]


def test_an_interval_of_an_accuracy_is_students_over_seeds(planted):
    table = made(planted, spread="interval")
    for (criterion, removed), own in runs_of(planted).groupby(["criterion", "removed"]):
        low, high = stats.t.interval(0.95, 2, own["accuracy"].mean(), stats.sem(own["accuracy"]))
        cell = named(table.cells)[criterion, f"{removed} removed"]
        assert (cell["low"], cell["high"]) == (pytest.approx(low), pytest.approx(high))
        assert cell["text"].endswith(f" [{low:.2f}, {high:.2f}]")
    assert "95 % interval by Student's t over seeds" in table.caption


def test_an_interval_of_a_delta_is_that_of_the_summary(planted):
    summary = pd.read_parquet(planted / "summary.parquet").drop_duplicates(["criterion", "removed"])
    cells = named(made(planted, value="delta", spread="interval").cells)
    for row in summary.itertuples():
        cell = cells[row.criterion, f"{row.removed} removed"]
        assert cell["mean"] == pytest.approx(row.delta_accuracy)
        assert (cell["low"], cell["high"]) == (row.delta_low, row.delta_high)


def test_speed_ups_are_geometric_means(planted):
    cells = named(made(planted, value="train_speedup").cells)
    own = runs_of(planted).query("criterion == 'snip' and removed == 2")["train_speedup"]
    assert cells["snip", "2 removed"]["mean"] == pytest.approx(stats.gmean(own))
    assert "±" not in cells["snip", "2 removed"]["text"]


def test_differences_to_controls_and_baselines_are_those_of_the_comparisons(make, tmp_path):
    folder = make(tmp_path, baselines=("grasp",), kinds=(), fills=())
    table = made(folder, columns="control", value="difference", bold="holm", where={"removed": ["1"]})
    rows = pd.read_parquet(folder / "comparisons.parquet").query("removed == 1")
    cells = named(table.cells)
    assert {(row.criterion, row.control) for row in rows.itertuples()} == cells.keys()
    assert {control for _, control in cells} == {"random", "baseline grasp"}
    for row in rows.itertuples():
        cell = cells[row.criterion, row.control]
        assert (cell["mean"], cell["bold"]) == (row.difference, row.outcome in ("better", "worse"))
    assert any(cell["bold"] for cell in cells.values())


def test_what_would_fall_together_is_named_with_the_option_that_picks_one(everything):
    with pytest.raises(LayerLotteryError) as error:
        made(everything)
    (line,) = str(error.value).splitlines()
    assert "structure: found filters, layers;" in line
    assert "rewind: found 0, 4, 8, random;" in line
    assert "scored_at: found init, trained;" in line
    options = re.findall(r"--where (\w+)=(\w+)", line)
    assert [key for key, _ in options] == ["structure", "scored_at", "rewind"]
    # and the options work
    assert len(made(everything, where={key: [value] for key, value in options}).cells)


def test_a_key_that_has_two_values_in_no_cell_is_refused_too_unless_it_is_named(make, tmp_path):
    folder = make(tmp_path, groups=(("digits", "resnet20"),), criteria=("snip", "random"), kinds=(), fills=())
    path = folder / "runs.parquet"
    criteria = pd.read_parquet(path)["criterion"].tolist()
    starts = iter(["4" if one == "random" else "0" for one in criteria])
    replace(path, "runs", {"rewind": lambda _: next(starts)})
    with pytest.raises(LayerLotteryError, match=r"rewind: found 0, 4; allowed in one table: one value of each"):
        made(folder)
    table = made(folder, where={"rewind": ["0", "4"]})
    assert len(table.cells) == 8
    assert "from θ0, θ4" in table.caption


def test_a_side_may_be_any_key(everything):
    where = {"criterion": ["snip"], "structure": ["layers", "filters"], "scored_at": ["init"], "rewind": ["0"]}
    table = made(everything, rows="structure", columns="removed", where=where)
    assert list(table.cells["row"].cat.categories) == ["layers", "filters"]
    where = {"structure": ["layers"], "removed": ["1"], "scored_at": ["trained"]}
    table = made(everything, rows="rewind", columns="criterion", where=where)
    assert list(table.cells["row"].cat.categories) == ["θ0", "θ4", "θ8"]
    assert {"snip", "random"} < set(table.cells["column"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"columns": "criterion"}, "--rows, --columns: found criterion twice; allowed: two of criterion, removed"),
        ({"columns": "control"}, "control: found with --value accuracy; allowed: with --value difference"),
        (
            {"bold": "holm", "value": "macs"},
            "--bold holm: found --value macs, which is not tested; allowed: accuracy, delta",
        ),
        ({"where": {"removed": ["9"]}}, "--where removed: found 9; allowed: 1, 2, 3, 4"),
        ({"value": "difference"}, "no ticket was compared"),
    ],
)
def test_what_makes_no_table_is_refused_in_one_line(asked, said, make, tmp_path):
    folder = make(tmp_path, criteria=("snip", "l1"), kinds=(), fills=())
    with pytest.raises(LayerLotteryError) as error:
        made(folder, **asked)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_one_seed_tells_nothing_apart(make, tmp_path):
    folder = make(tmp_path, seeds=(0,), kinds=(), fills=())
    with pytest.raises(LayerLotteryError, match="--bold holm: found one seed"):
        made(folder, bold="holm")
    assert "±" not in "".join(made(folder).cells["text"])


def test_what_was_not_measured_is_no_table(make, tmp_path):
    folder = make(tmp_path, latency=False, kinds=(), fills=())
    replace(folder / "runs.parquet", "runs", {"latency_speedup": None, "energy_reduction": None})
    with pytest.raises(LayerLotteryError, match=r"--value energy: not measured in .*; allowed: accuracy, "):
        made(folder, value="energy")


def rows_of(pipe):
    return [[one.strip() for one in line.strip("|").split("|")] for line in pipe.splitlines() if line.startswith("|")]


def test_markdown_and_latex_hold_the_same_cells(apart):
    table = made(apart, bold="holm")
    head, rule, *body = rows_of(markdown(table))
    assert head == ["criterion", "1\N{NO-BREAK SPACE}removed", "2\N{NO-BREAK SPACE}removed"]
    assert rule[0].startswith(":-")
    assert all(one.endswith("-:") for one in rule[1:])
    assert {one.startswith("**") for row in body for one in row[1:]} == {True, False}
    text = latex(table)
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    lines = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")]
    assert [one.replace("~", "\N{NO-BREAK SPACE}") for one in lines[0]] == head
    plain = [[re.sub(r"\\textbf{(.*)}$", r"**\1**", one).replace(r"$\pm$", "±") for one in line] for line in lines[1:]]
    assert plain == body
    assert r"\caption{Test accuracy, \%: mean $\pm$ standard deviation over 8 seeds." in text


def test_csv_holds_numbers(apart):
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](made(apart)))))
    own = runs_of(apart).groupby(["criterion", "removed"])["accuracy"].mean()
    assert {(row["row"], int(row["column"][0])): float(row["mean"]) for row in rows} == pytest.approx(own.to_dict())


def test_names_are_escaped(make, tmp_path):
    folder = make(tmp_path, kinds=(), fills=())
    replace(folder / "runs.parquet", "runs", {"criterion": lambda name: f"a_b|{name}&%" if name else None})
    pipe, text = markdown(made(folder)), latex(made(folder))
    assert r"a_b\|snip&%" in pipe
    assert r"a\_b\textbar{}snip\&\%" in text


def test_the_command_prints_it(apart, monkeypatch):
    ran = CliRunner().invoke(cli, ["table", "--results", str(apart), "--bold", "holm", "--where", "removed=1"])
    assert ran.exit_code == 0, ran.output
    assert ran.stdout == markdown(made(apart, bold="holm", where={"removed": ["1"]}))
    ran = CliRunner().invoke(cli, ["table", "--results", str(apart), "--format", "csv"])
    assert ran.stdout == FORMATS["csv"](made(apart))
    assert "Test accuracy" in ran.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--where", "removed"], "--where: found 'removed'; allowed: KEY=VALUE"),
        (["--where", "colour=red"], "--where: found key 'colour'; allowed: criterion, removed"),
        (["--results", "/nowhere"], "/nowhere: no tables here; allowed: a results folder, or its tables/"),
    ],
)
def test_the_command_refuses_in_one_line(given, said, apart):
    ran = CliRunner().invoke(cli, ["table", "--results", str(apart), *given])
    assert said in str(ran.exception)


def test_the_command_knows_keys_values_and_formats():
    assert command.KEYS == module.KEYS
    assert tuple(module.VALUES) == command.VALUES
    form = next(one for one in command.table.params if one.name == "form")
    assert tuple(form.type.choices) == tuple(FORMATS)
