"""The forest plot's rows: where marks stand, which are filled, and which rows a screen holds."""

import dataclasses
import math
import re

import pytest

from layerlottery.report.forest import LEAST, PHONE, SCREEN, forest, telling
from layerlottery.report.tables import at_tolerance, read_tables
from layerlottery.words import interval


@pytest.fixture(scope="module")
def held(everything):
    return read_tables(everything)


def named(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_row_for_each_ticket_that_finds_room(planted):
    tables = read_tables(planted)
    rows = at_tolerance(tables.summary, "1")
    plot = forest(tables, "1")
    ((title, marks, _),) = plot.groups
    assert title == ""
    assert len(marks) == min(SCREEN, len(rows))
    assert plot.left_out == len(rows) - len(marks)
    said = {f"{family}, {p} removed": interval(*numbers) for family, p, *numbers in
            rows[["family", "removed", "mean", "low", "high"]].itertuples(index=False)}  # fmt: skip
    assert all(said[named(mark.name)] == mark.text for mark in marks)


def test_marks_stand_in_proportion(planted):
    plot = forest(read_tables(planted), "1")
    (_, marks, edges), ticks = plot.groups[0], {named(text): place for place, text in plot.ticks}
    # two ticks give the scale: every mark's place follows from its figures
    (first, one), (last, other) = (
        (float(text.replace("\N{MINUS SIGN}", "-")), ticks[text]) for text in (min(ticks), max(ticks))
    )
    scale = (other - one) / (last - first)
    for mark in marks:
        numbers = [float(part) for part in re.findall(r"[+-]?\d+\.\d+", mark.text.replace("\N{MINUS SIGN}", "-"))]
        wanted = [one + scale * (value - first) for value in numbers]
        shown = [mark.mean, mark.low, mark.high]
        assert all(math.isclose(a, min(100, max(0, b)), abs_tol=0.15) for a, b in zip(shown, wanted, strict=True))
    assert edges == pytest.approx((plot.zero - scale, plot.zero + scale), abs=0.02)


def test_filled_is_what_survives_the_correction(held):
    rows = at_tolerance(held.summary, "1")
    filled = {mark.name: mark.filled for _, marks, _ in forest(held, "1").groups for mark in marks}
    for family, p, verdict, wins in rows[["family", "removed", "verdict_holm", "winning_holm"]].itertuples(index=False):
        name = next((one for one in filled if named(one) == f"{family}, {p} removed"), None)
        if name is not None:
            assert filled[name] == (verdict != "undecided" or bool(wins))
    assert set(filled.values()) == {True, False}


def test_controls_are_last_and_keep_a_quarter(held):
    rows = at_tolerance(held.summary, "1")
    for most in (SCREEN, PHONE, LEAST):
        shown = telling(rows, most)
        controls = shown["is_control"].astype(bool).tolist()
        assert len(shown) == most
        assert controls == sorted(controls)
        assert sum(controls) == most // 4


def test_how_controls_came_out_does_not_choose_them(held):
    rows = at_tolerance(held.summary, "1")
    control = rows["is_control"].astype(bool)
    turned = rows.assign(mean=rows["mean"].where(~control, -rows["mean"]), winning_holm=rows["winning_holm"] & ~control)
    for most in (SCREEN, PHONE, LEAST):
        shown, again = (
            set(one.index[one["is_control"].astype(bool)]) for one in (telling(rows, most), telling(turned, most))
        )
        assert shown == again


def test_what_learned_nothing_wins_nothing(held):
    rows = held.summary.assign(learned=False)
    (_, marks, _) = forest(dataclasses.replace(held, summary=rows), "1").groups[0]
    assert {(mark.filled, mark.verdict) for mark in marks} == {(False, "nothing learned")}


def test_only_dense_networks_have_no_forest(make, tmp_path):
    assert forest(read_tables(make(tmp_path, criteria=(), kinds=(), fills=())), "1") is None
