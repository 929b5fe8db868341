"""What the interactive figures are drawn from: every network, its quantities in their units, and its looks."""

import json

import numpy as np
import pytest

from layerlottery.report.explore import explorer, quantities, vega
from layerlottery.report.tables import read_tables


@pytest.fixture(scope="module")
def held(everything):
    return read_tables(everything)


def decoded(text):
    found = json.loads(text)
    for name, column in found["columns"].items():
        if isinstance(column, dict):
            found["columns"][name] = [None if code < 0 else column["words"][code] for code in column["codes"]]
    return found


def test_a_row_for_each_network_in_its_unit(held):
    columns = decoded(explorer(held, "results"))["columns"]
    runs = held.runs
    assert columns["seed"] == runs["seed"].astype(str).tolist()
    assert columns["criterion"] == runs["criterion"].astype(object).where(runs["criterion"].notna(), None).tolist()
    np.testing.assert_allclose(columns["macs"], runs["macs"] / 1e6, rtol=1e-4)
    np.testing.assert_allclose(columns["energy_kwh"], runs["energy_kwh"] * 1000, rtol=1e-4)


def test_errors_under_corruption_are_relative_to_the_dense_network(held):
    """mCE (Hendrycks and Dietterich, 2019, equation 1) by plain loops."""
    shown = quantities(held)
    rows = held.robustness[held.robustness["kind"] == "corruption"]
    # gaussian_blur is one of the extra corruptions
    rows = rows[rows["name"] != "gaussian_blur"]
    for place in (0, 5, len(shown) - 1):
        run = shown.iloc[place]
        same = rows["seed"] == run["seed"]
        for name in ("criterion", "structure", "removed", "rewind", "scored_at"):
            same &= rows[name].isna() if run[name] is None or run[name] != run[name] else rows[name] == run[name]
        own, errors = rows[same], []
        assert len(own)
        for name in own["name"].unique():
            levels = own[own["name"] == name]
            errors.append(100 * sum(100 - levels["accuracy"]) / sum(100 - levels["dense_accuracy"]))
        assert run["mce"] == pytest.approx(sum(errors) / len(errors))


def test_axes_without_a_value_are_not_offered(make, tmp_path):
    tables = read_tables(make(tmp_path, criteria=("snip",), removed=(1,), kinds=(), latency=False))
    found = decoded(explorer(tables, "results"))
    assert not {"latency_ms", "mce", "attacked", "auroc"} & set(found["axes"])
    assert set(found["first"].values()) <= set(found["axes"])


def test_before_costs_are_profiled_the_first_figure_is_by_what_is_removed(make, tmp_path):
    tables = read_tables(make(tmp_path, criteria=("snip",), removed=(1,), kinds=(), latency=False))
    assert decoded(explorer(tables, "results"))["first"]["x1"] == "macs_reduction"
    tables.runs["macs_reduction"] = np.nan
    first = decoded(explorer(tables, "results"))["first"]
    assert (first["x1"], first["y1"]) == ("blocks", "delta_accuracy")


def test_controls_are_grey_and_criteria_have_their_own_colours(held):
    looks = decoded(explorer(held, "results"))["looks"]
    assert looks["random"][0] == looks["grasp (fresh weights)"][0] == "--random"
    assert looks["dense"][0] == "--ink"
    assert len({looks[name][0] for name in ("snip", "grasp", "l1", "kl")}) == 4


def test_nothing_ends_the_element_that_holds_it(make, tmp_path):
    name = "</script><script>alert(1)</script>"
    tables = read_tables(make(tmp_path, criteria=("random", name), removed=(1,), kinds=(), similar=False))
    text = str(explorer(tables, "a'b c"))
    assert not set("<>&") & set(text)
    assert name in decoded(text)["columns"]["criterion"]
    assert decoded(text)["command"][0] == "snakemake --cores all 'a'\"'\"'b c'/"


def test_the_library_is_whole_and_ends_no_element():
    assert 500_000 < len(vega()) < 1_500_000
    assert "vegaEmbed" in vega()
    assert "</script" not in vega()
