"""Accuracy under attack by strength of the attack, and every measure of robustness beside the dense network's."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from layerlottery.evaluation.masking import gradient_check
from layerlottery.report.grids import Cell, Grid, ticket_name
from layerlottery.report.series import attack_by_epsilon
from layerlottery.report.style import INK, Draw, Look, Panel, Picture, dots, legend, looks, panel, present
from layerlottery.report.tables import (
    GROUP,
    SETTING,
    Part,
    Tables,
    dense,
    first_starts,
    parts,
    spread,
    tickets,
    title,
    within,
)
from layerlottery.words import ABSENT, counted, either, interval, number, ranges

MOST_DENSITIES, MOST_PANELS = 3, 12
ATTACKS = {
    "fgsm": "FGSM, L∞",
    "pgd": "PGD, L∞",
    "pgd_restarts": "PGD with restarts, L∞",
    "fgsm_l2": "FGSM, L2",
    "pgd_l2": "PGD, L2",
    "autoattack": "AutoAttack, L∞",
    "transfer": "PGD on the dense network, L∞",
}
# means over all conditions of a kind, and what has no condition
SUMMARIES = ("accuracy, corrupted", "accuracy, extra corruptions", "mCE", "relative mCE", "accuracy, attacked")
MINIMUM_NORM, AUROC = "median minimum norm", "AUROC"


def attack_picture(tables: Tables) -> Picture:
    """One panel per attack and size of tickets, dense networks thick; a readable selection where there are many."""
    entries = looks(tables.runs)
    rows = attacked(tables.robustness)
    held, attacks = parts(tables, first_starts(rows)), max(1, rows["name"].nunique())
    panels: list[Panel] = []
    hidden = False
    for part in held:
        most = min(MOST_DENSITIES // sum(one.group == part.group for one in held), MOST_PANELS // attacks)
        most = max(1, most)
        panels += _panels(part, most, entries)
        hidden |= tickets(part.rows)["removed"].nunique() > most
    caption = (
        "Look for tickets that fall faster or slower than the dense network (thick). Means over seeds; steps on the "
        "horizontal axis are not to scale, and 0 are the same images untouched."
    )
    every = ranges(tickets(rows)["removed"])
    caption += f" Of the numbers of blocks removed, {every}, only some are drawn." if hidden else ""
    return Picture("attacks", tuple(panels), legend(entries, first_starts(rows)), caption)


def attacked(robustness: pd.DataFrame) -> pd.DataFrame:
    """The rows of attacks by epsilon; the dense network's examples on other networks are the attack `transfer`."""
    transferred = robustness["kind"] == "transfer"
    rows = robustness.assign(name=robustness["name"].mask(transferred, "transfer"))
    return rows[transferred | (robustness["kind"] == "attack")]


def resilience_grids(tables: Tables) -> list[Grid]:
    """Per network: means over corruptions and attacks, errors relative to the dense network, least perturbations."""
    rows = tables.resilience
    summaries = rows["measure"].isin(SUMMARIES) & rows["name"].isna()
    chosen = rows[summaries | (rows["measure"] == MINIMUM_NORM)]
    note = (
        "Mean paired difference to the dense network [t interval], whose own values stand above. Coloured where it is "
        "better or worse after Holm's correction. Corruptions: of the 15, the extras apart. mCE and relative mCE: "
        "errors in percent of the dense network's, lower is better. Minimum norm: median, in 1/255."
    )
    return _grids(tables, chosen, "resilience", "Robustness, all conditions together", note, _heading)


def detection_grids(tables: Tables) -> list[Grid]:
    """Per network: how well outliers are told from test images, by set and score."""
    chosen = tables.resilience[tables.resilience["measure"] == AUROC]
    note = (
        "Area under the ROC curve: 0.5 is chance, 1 perfect. Mean paired difference to the dense network [t interval], "
        "coloured as above. The table detection has precision-recall and false positive rates."
    )
    return _grids(tables, chosen, "detection", "Outliers told from test images, AUROC", note, _detector, digits=3)


def _heading(measure: str, name: str) -> str:
    return f"{measure}, {name.replace('_', ' ')}" if name else measure


def _detector(measure: str, name: str) -> str:
    return name.replace("_", " ")


def _grids(
    tables: Tables,
    rows: pd.DataFrame,
    name: str,
    words: str,
    note: str,
    heading: Callable[[str, str], str],
    *,
    digits: int = 2,
) -> list[Grid]:
    found = []
    for index, group in enumerate(tables.groups()):
        # a column of one kind of text and nothing would come back with NaN
        own = within(rows, group).fillna({"name": ""})
        columns = list(dict.fromkeys(zip(own["measure"], own["name"], strict=True)))
        held = {(one["family"], one["removed"], one["measure"], one["name"]): one for one in own.to_dict("records")}
        tickets_held = list(dict.fromkeys(zip(own["family"], own["removed"], strict=True)))
        lines = [[Cell("dense"), *(_dense_cell(held, column, digits) for column in columns)]]
        for ticket in tickets_held:
            cells = [held.get((*ticket, *column)) for column in columns]
            lines.append([Cell(ticket_name(*ticket)), *(_difference_cell(one, digits) for one in cells)])
        heads = ["ticket", *(heading(*column) for column in columns)]
        if columns:
            found.append(Grid(f"{name}{index}", title(tables, group, words), heads, lines, note))
    return found


def _dense_cell(held: dict[Any, Any], column: tuple[str, str], digits: int) -> Cell:
    """Of the first ticket that has it: tickets of the same seeds share their dense networks."""
    values = [one["dense"] for key, one in held.items() if key[2:] == column]
    return Cell(number(values[0], digits), "muted")


def _difference_cell(row: dict[Hashable, Any] | None, digits: int) -> Cell:
    if row is None:
        return Cell(ABSENT)
    tone = {"better": "win", "worse": "lose"}.get(row["outcome"], "muted")
    return Cell(interval(row["difference"], row["low"], row["high"], digits), tone)


def masking_note(tables: Tables) -> str:
    """Whether the attacks of every network behave as those on unmasked gradients do."""
    rows = attacked(tables.robustness)
    if rows.empty:
        return ""
    identity = [*GROUP, "seed", *SETTING, "draw", "removed"]
    networks = tables.robustness.fillna({"criterion": "", "scored_at": ""}).groupby(identity, sort=False)
    problems = [gradient_check(network.to_dict("records")) for _, network in networks]
    failed = [problem for network in problems for problem in network]
    if not failed:
        return f"Gradients: no sign of masking in {counted(len(problems), 'network', 'networks')}."
    some = counted(sum(map(bool, problems)), "network", "networks")
    return f"Gradients may be masked in {some} of {len(problems)}: {either(failed[:MOST_DENSITIES])}."


def _panels(part: Part, most: int, entries: dict[str, Look]) -> list[Panel]:
    found = []
    for attack in dict.fromkeys(part.rows["name"]):
        series = attack_by_epsilon(part.rows, attack)
        for removed in spread(sorted(set(tickets(series)["removed"])), most):
            draw = _strengths(series[series["removed"].isin((0, removed))], entries)
            name, heading = f"attack{part.name}{attack}x{removed}", part.titled(_called(attack), f"p = {removed}")
            found.append(panel(name, heading, "accuracy, %", "accuracy by epsilon", draw))
    return found


def _called(attack: str) -> str:
    # attacks of the user's own have the names that the configuration gives them
    return ATTACKS.get(attack, attack.replace("_", " "))


def _strengths(rows: pd.DataFrame, entries: dict[str, Look]) -> Draw:
    levels = sorted(set(rows["level"]))

    def draw(axes: Axes) -> None:
        thick = dense(rows)
        axes.plot(
            [levels.index(level) for level in thick["level"]], thick["mean"], color=INK, linewidth=2.6, alpha=0.85
        )
        for criterion in present(entries, rows):
            look, one = entries[criterion], rows[rows["criterion"] == criterion]
            at = [levels.index(level) for level in one["level"]]
            axes.plot(at, one["mean"], color=look.colour, linewidth=1.1, linestyle=look.line)
            dots(axes, at, one["mean"], look, size=4)
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        axes.set_ylim(0, 103)
        axes.set_xlabel("ε, in 1/255")

    return draw
