"""The numbers behind figures, and the names of tickets, by hand."""

import pandas as pd
import pytest

from layerlottery.report.charts import BY_REMOVED
from layerlottery.report.facets import facets, spread
from layerlottery.report.robustness import by_level
from layerlottery.report.series import (
    by_seed,
    confidence_of,
    cost_by_removed,
    difference_by_condition,
    over_seeds,
    removal_shares,
)
from layerlottery.report.style import RANDOM, looks
from layerlottery.report.tables import (
    drawn_criteria,
    families,
    first_starts,
    labelled,
    read_tables,
    sizes,
    variant_words,
    variants,
)
from layerlottery.store.artifacts import read_table
from layerlottery.words import probability, ranges, scaled, seconds, signed, start

TUNED = "trained-1a2b3c4d"
TOY = pd.DataFrame(
    {
        "dataset": "toy",
        "network": "net",
        "seed": [0, 1] * 4,
        "draw": 0,
        "structure": ["none"] * 2 + ["layers"] * 6,
        "criterion": [None] * 2 + ["snip"] * 2 + ["draw_a"] * 2 + ["draw_b"] * 2,
        "criterion_settings": [None] * 2 + ['{"function":"snip"}'] * 2 + ['{"function":"random"}'] * 4,
        "step": 0,
        "scored_at": [None] * 2 + ["init"] * 6,
        "rewind": "0",
        "removed": [0, 0] + [2] * 6,
        "accuracy": [90.0, 92.0, 91.0, 91.5, 89.0, 90.0, 87.0, 91.0],
        "delta_accuracy": [0, 0, 1.0, -0.5, -1.0, -2.0, -3.0, -1.0],
        "removed_blocks": [[], [], ["a", "b"], ["b", "c"], ["a"], ["a"], [], []],
    }
)


@pytest.mark.parametrize(
    ("structure", "criterion", "scored_at", "rewind", "name"),
    [
        ("none", None, None, "0", "dense"),
        ("layers", "grasp", "init", "0", "grasp"),
        ("filters", "grasp", "init", "0", "grasp (filters)"),
        ("layers", "kl", "trained", "0", "kl (trained)"),
        ("layers", "kl", "trained", "25", "kl (trained, rewind 25)"),
        ("layers", "snip", "init", "random", "snip (fresh weights)"),
        ("weights", "snip", "trained", "random", "snip (weights, trained, fresh weights)"),
    ],
)
def test_families_are_named(structure, criterion, scored_at, rewind, name):
    row = {"structure": structure, "criterion": criterion, "scored_at": scored_at, "rewind": rewind}
    assert labelled(pd.DataFrame([row]))["family"].tolist() == [name]


def test_rankings_are_named_as_layers():
    assert labelled(pd.DataFrame({"criterion": ["kl"], "scored_at": ["trained"]}))["family"].tolist() == [
        "kl (trained)"
    ]


def test_draws_belong_to_one_family_and_random_comes_last():
    assert families(labelled(TOY)) == ["dense", "snip", "draw_a", "draw_b"]
    assert drawn_criteria(TOY) == {"draw_a", "draw_b"}
    assert drawn_criteria(TOY, ("random_spread",)) == set()


def test_variants_are_ordered_by_structure_then_start():
    rows = pd.DataFrame(
        [
            ("filters", "init", "0", 0),
            ("layers", "trained", TUNED, 1),
            ("layers", "trained", TUNED, 0),
            ("layers", "trained", "50", 0),
            ("layers", "init", "random", 0),
            ("layers", "init", "0", 0),
            ("layers", "trained", "5", 0),
            ("filters_by_share", "trained", TUNED, 20),
            ("filters_by_share", "init", "0", 0),
        ],
        columns=["structure", "scored_at", "rewind", "step"],
    )
    names = variants(labelled(rows.assign(criterion="c")))
    starts = ["", "fresh weights", "trained, rewind 5", "trained, rewind 50", "trained, fine-tuned"]
    shares = ["share of filters", "filters, fine-tuned, rounds of 20\N{NO-BREAK SPACE}%"]
    assert names == [*starts, "fine-tuned, rounds of 1", "filters", *shares]
    assert variant_words("") == "at initialization"
    assert variant_words("trained, rewind 5") == "scored after training, rewind 5"


def test_first_starts_keep_dense_networks_and_the_earliest_start_of_every_scoring():
    rows = pd.DataFrame(
        [
            ("none", None, "0"),
            ("layers", "init", "0"),
            ("layers", "init", "random"),
            ("layers", "trained", "25"),
            ("layers", "trained", "100"),
            ("filters", "init", "random"),
            ("layers", "trained", TUNED),
        ],
        columns=["structure", "scored_at", "rewind"],
    ).assign(dataset="d", network="n", step=0)
    # fine-tuning is no later start of the same training
    assert first_starts(rows).index.tolist() == [0, 1, 3, 5, 6]
    rounds = rows.assign(step=[0, 0, 0, 0, 1, 0, 1])
    assert first_starts(rounds).index.tolist() == [0, 1, 3, 4, 5, 6]


def test_sizes_are_blocks_or_percent_of_the_filters():
    rows = pd.DataFrame({"structure": "filters_by_share", "criterion": "l1", "removed": [20, 36], "rewind": "0"})
    rows = labelled(rows.assign(scored_at="trained", step=20))
    space = "\N{NO-BREAK SPACE}"
    assert rows["gone"].tolist() == [f"20{space}%{space}removed", f"36{space}%{space}removed"]
    assert sizes(rows) == f"20, 36{space}%{space}removed"
    assert sizes(rows.assign(structure="layers", removed=[1, 2])) == f"1\N{EN DASH}2{space}removed"


def test_draws_are_averaged_before_seeds():
    rows = pd.DataFrame(
        {"criterion": "random", "removed": 1, "seed": [0, 0, 0, 1], "accuracy": [90.0, 92.0, 94.0, 80.0]}
    )
    assert by_seed(rows, ["criterion"], "accuracy")["mean"].tolist() == [92.0, 80.0]
    (row,) = over_seeds(rows, BY_REMOVED, "accuracy").to_dict("records")
    assert (row["mean"], row["low"], row["high"], row["seeds"]) == (86.0, 80.0, 92.0, 2)


def test_accuracy_series_by_hand():
    rows = over_seeds(TOY, BY_REMOVED, "accuracy")
    snip = rows[rows["criterion"] == "snip"]
    assert snip[["mean", "low", "high", "seeds"]].to_numpy().tolist() == [[91.25, 91.0, 91.5, 2]]
    assert rows.loc[rows["criterion"].isna(), "mean"].tolist() == [91.0]


def test_looks_put_random_last_and_grey():
    entries = looks(TOY)
    assert list(entries) == ["snip", "draw_a", "draw_b"]
    assert entries["draw_a"].colour == entries["draw_b"].colour == RANDOM != entries["snip"].colour
    assert entries["draw_a"].shape != entries["draw_b"].shape


def test_fifteen_criteria_look_different():
    rows = pd.DataFrame({"criterion": [f"c{index:02d}" for index in range(15)], "criterion_settings": "{}"})
    entries = looks(rows)
    assert len({entry.colour for entry in entries.values()}) == 15
    assert [entry.dash == "" for entry in entries.values()] == [True] * 10 + [False] * 5


def test_removal_shares_by_hand():
    shares = removal_shares(TOY).set_index(["criterion", "removed_blocks"])["share"].to_dict()
    assert shares == {("snip", "a"): 0.5, ("snip", "b"): 1.0, ("snip", "c"): 0.5, ("draw_a", "a"): 1.0}


def test_removal_shares_count_draws_but_no_rewind_twice():
    rows = pd.DataFrame(
        {"structure": "layers", "criterion": "kl", "scored_at": "trained", "removed": 1, "seed": 0}
        | {"draw": [0, 0, 1], "rewind": ["0", "25", "0"], "removed_blocks": [["a"], ["a"], ["b"]]}
    )
    found = removal_shares(rows).set_index("removed_blocks")[["count", "choices", "share"]].to_dict("index")
    assert found == {name: {"count": 1, "choices": 2, "share": 0.5} for name in ("a", "b")}


def test_robustness_series_by_hand():
    rows = pd.DataFrame(
        {
            "seed": [0, 1, 0, 1, 0, 0],
            "family": ["snip"] * 6,
            "gone": "1 removed",
            "criterion": "snip",
            "removed": 1,
            "kind": ["attack", "attack", "attack", "attack", "corruption", "corruption"],
            "name": ["pgd", "pgd", "pgd", "pgd", "jpeg", "jpeg"],
            "level": [2.0, 2.0, 0.0, 0.0, 1.0, 2.0],
            "accuracy": [50.0, 60.0, 90.0, 92.0, 80.0, 70.0],
            "delta_accuracy": [0.0, 0.0, 0.0, 0.0, -1.0, -4.0],
        }
    )
    series = by_level(rows[rows["kind"] == "attack"])
    assert series[["level", "mean"]].to_numpy().tolist() == [[0.0, 91.0], [2.0, 55.0]]
    assert difference_by_condition(rows[rows["kind"] == "corruption"]).loc[("snip", "1 removed"), "jpeg"] == -2.5


def test_cost_by_hand():
    rows = pd.DataFrame(
        {
            "structure": "layers",
            "protocol": "",
            "removed": [1, 1],
            "macs_reduction": [20.0, 20.0],
            "params_reduction": [10.0, 30.0],
            "memory_reduction": [15.0, 15.0],
            "energy_reduction": [float("nan")] * 2,
            "train_speedup": [0.5, 2.0],
            "latency_speedup": [float("nan"), 1.1],
        }
    )
    costs = cost_by_removed(rows).set_index("quantity")
    assert costs.loc["parameters", ["mean", "low", "high"]].tolist() == [20.0, 10.0, 30.0]
    assert costs.loc["predicted by MACs", "mean"] == pytest.approx(1.25)
    assert costs.loc["training time", "mean"] == pytest.approx(1.0)
    assert costs.loc["latency", "mean"] == pytest.approx(1.1)
    assert costs["mean"].isna().sum() == 1


def test_confidence_is_the_summary_s(planted):
    assert confidence_of(read_table(planted / "summary.parquet").to_pandas()) == 0.95


def test_words():
    assert ranges([3, 1, 2, 5]) == "1\N{EN DASH}3, 5"
    assert signed(-0.001) == "0.00"
    assert signed(-1.5) == "\N{MINUS SIGN}1.50"
    assert (seconds(59), seconds(5400), seconds(259_200)) == ("59.0 s", "1.5 h", "3.0 days")
    assert scaled(0.0123, "Wh", (("k", 1.0), ("", 1e-3), ("m", 1e-6))) == "12.3 Wh"
    assert (start("0"), start("25"), start("random")) == ("θ0", "θ25", "fresh")
    assert start(TUNED) == "trained"
    assert (probability(0.00004), probability(0.0214), probability(float("nan"))) == ("< 0.001", "0.021", "\N{EN DASH}")


def test_spread_keeps_the_ends():
    assert spread(list(range(1, 22)), 6) == [1, 5, 9, 13, 17, 21]
    assert spread([1, 2, 3], 1) == [3]
    assert spread([1, 2], 3) == [1, 2]


def test_panels_are_headed_by_what_sets_them_apart(make, tmp_path):
    groups = (("digits", "resnet20"), ("digits", "resnet32"))
    facts = {"criteria": ("snip",), "seeds": (0, 1), "removed": (1,), "kinds": ()}
    tables = read_tables(make(tmp_path, groups=groups, structures=("layers", "filters"), **facts))
    found = [size for one in facets(tables, tables.runs, "acc") for size in one.sizes(1)]
    assert [facet.heading for facet in found] == [
        "1\N{NO-BREAK SPACE}removed, at initialization, resnet20",
        "1\N{NO-BREAK SPACE}removed, filters, resnet20",
        "1\N{NO-BREAK SPACE}removed, at initialization, resnet32",
        "1\N{NO-BREAK SPACE}removed, filters, resnet32",
    ]
    assert len({facet.key for facet in found}) == 4
    assert all(facet.rows["criterion"].isna().sum() == 2 for facet in found), "the dense networks come along"
