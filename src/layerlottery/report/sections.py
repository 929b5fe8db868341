"""The sections of the page between the verdict and the method; those without data are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from layerlottery.report.accuracy import (
    accuracy_picture,
    curves_picture,
    difference_picture,
    summary_grids,
)
from layerlottery.report.baselines import Plot, baseline_grids, baseline_plots
from layerlottery.report.blocks import blocks_picture, stability_grids
from layerlottery.report.charts import Picture
from layerlottery.report.controls import control_grids
from layerlottery.report.cost import cost_grids, cost_of, savings_picture, speed_picture, total_grids
from layerlottery.report.grids import Grid
from layerlottery.report.paper import figure3_picture, paper_grids, paper_note
from layerlottery.report.rewinding import rewinding_grids, rewinding_picture
from layerlottery.report.robustness import attack_picture, robustness_grids, robustness_note
from layerlottery.report.similarity import layer_picture, removal_picture, similarity_grids
from layerlottery.report.structures import structures_grids, structures_picture
from layerlottery.report.tables import Tables
from layerlottery.report.texts import TEXTS


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    pictures: tuple[Picture, ...]
    grids: tuple[Grid, ...]
    note: str
    forests: tuple[Plot, ...] = ()

    @property
    def title(self) -> str:
        """Its heading."""
        return str(TEXTS["sections"][self.name])

    @property
    def hint(self) -> str:
        """What it holds, beside the heading."""
        return str(TEXTS["hints"][self.name])

    @property
    def paired(self) -> bool:
        """Whether its figures fit side by side."""
        return len(self.pictures) == 2 and all(len(one.panels) <= 1 for one in self.pictures)


def sections(tables: Tables, paper: dict[str, pd.DataFrame], xi: str) -> list[Section]:
    """Every section that has something to show, in the order of the page."""
    costs = cost_of(tables, xi)
    robustness = robustness_grids(tables), robustness_note(tables, xi)
    made = [
        _section("summary", [], summary_grids(tables), TEXTS["notes"]["summary"]),
        _section("accuracy", [difference_picture(tables, xi), accuracy_picture(tables)]),
        _section("controls", [], control_grids(tables)),
        replace(_section("baselines", [], baseline_grids(tables)), forests=tuple(baseline_plots(tables))),
        _section(
            "cost", [savings_picture(costs), speed_picture(costs)], [*cost_grids(costs), *total_grids(tables, xi)]
        ),
        _section("robustness", [attack_picture(tables)], *robustness),
        _section("blocks", [blocks_picture(tables)]),
        _section("rewinding", [rewinding_picture(tables, xi)], rewinding_grids(tables, xi)),
        _section("structures", [structures_picture(tables, xi)], structures_grids(tables, xi)),
        _section("similarity", [removal_picture(tables), layer_picture(tables)], similarity_grids(tables)),
        _section("stability", [], stability_grids(tables)),
        _section("curves", [curves_picture(tables)]),
        _section("paper", [figure3_picture(paper)], paper_grids(paper), paper_note(paper)),
    ]
    return [section for section in made if section.pictures or section.grids]


def _section(name: str, pictures: Iterable[Picture], grids: Iterable[Grid] = (), note: str = "") -> Section:
    return Section(name, tuple(one for one in pictures if one.panels), tuple(grids), note)


def left_out(tables: Tables) -> str:
    """Everything that this benchmark did not evaluate, named so that no one looks for it."""
    tested = set(tables.robustness["kind"])
    absent = {
        "attacks": "attack" not in tested,
        "corruptions": "corruption" not in tested,
        "shifted test sets": "shift" not in tested,
        "outliers": tables.detection.empty,
        "similarity to the dense network": tables.similarity.empty,
        "latency": tables.runs["latency_ms"].isna().all(),
        "energy": tables.runs["energy_kwh"].isna().all(),
    }
    return ", ".join(name for name, missing in absent.items() if missing)
