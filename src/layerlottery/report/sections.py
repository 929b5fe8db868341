"""The sections of the page between the verdict and the method; those without data are left out."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from layerlottery.report import grids
from layerlottery.report.accuracy import accuracy_picture, curves_picture, difference_picture
from layerlottery.report.blocks import blocks_picture
from layerlottery.report.cost import cost_of, savings_picture, speed_picture
from layerlottery.report.paper import figure3_picture, paper_grids, paper_note
from layerlottery.report.rewinding import rewinding_grids, rewinding_picture
from layerlottery.report.robustness import attack_picture, detection_grids, masking_note, resilience_grids
from layerlottery.report.similarity import layer_picture, removal_picture, similarity_grids
from layerlottery.report.structures import structures_grids, structures_picture
from layerlottery.report.style import Picture
from layerlottery.report.tables import Tables


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    title: str
    pictures: tuple[Picture, ...] = ()
    grids: tuple[grids.Grid, ...] = ()
    note: str = ""

    @property
    def paired(self) -> bool:
        """Whether its figures fit side by side."""
        return len(self.pictures) == 2 and all(len(one.panels) <= 1 for one in self.pictures)


def sections(tables: Tables, paper: dict[str, pd.DataFrame], xi: str) -> list[Section]:
    """Every section that has something to show."""
    made = [
        Section("paper", "The paper's tables", (figure3_picture(paper),), tuple(paper_grids(paper)), paper_note(paper)),
        Section("accuracy", "Accuracy", (accuracy_picture(tables), difference_picture(tables, xi))),
        Section("summary", "Every ticket", (), tuple(grids.summary_grids(tables)), SUMMARY_NOTE),
        Section("controls", "Controls", (), tuple(grids.control_grids(tables))),
        Section("rewinding", "Rewinding", (rewinding_picture(tables, xi),), tuple(rewinding_grids(tables, xi))),
        Section("structures", "Structures", (structures_picture(tables, xi),), tuple(structures_grids(tables, xi))),
        _cost(tables, xi),
        _robustness(tables, xi),
        _similarity(tables),
        Section("stability", "Rank stability", (), tuple(grids.stability_grids(tables))),
        Section("curves", "Learning curves", (curves_picture(tables),)),
        Section("blocks", "Removed blocks", (blocks_picture(tables),)),
    ]
    drawn = [_drawn(section) for section in made]
    return [section for section in drawn if section.pictures or section.grids]


SUMMARY_NOTE = (
    "Accuracy: mean ± standard deviation over seeds. Δ: mean paired difference to the dense network with its "
    "t interval. Under each tolerance: the verdict, then how many of the networks won. Starred verdicts stand "
    "after Holm's correction for all tickets of that network."
)


def left_out(tables: Tables) -> str:
    """What this benchmark did not evaluate, so that nobody looks for it."""
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


def _drawn(section: Section) -> Section:
    pictures = tuple(one for one in section.pictures if one.panels)
    return Section(section.name, section.title, pictures, section.grids, section.note)


def _cost(tables: Tables, xi: str) -> Section:
    costs = cost_of(tables, xi)
    made = () if costs.empty else (grids.cost_grid(costs),)
    return Section("cost", "Cost saved", (savings_picture(costs), speed_picture(costs)), made)


def _robustness(tables: Tables, xi: str) -> Section:
    made = [
        *resilience_grids(tables),
        *grids.heat_grids(tables, "corruption", "Corruptions"),
        *grids.heat_grids(tables, "shift", "Shifted test sets"),
        *detection_grids(tables),
        *grids.calibration_grids(tables),
    ]
    means = [f"{name} {words}" for name, words in grids.robustness_means(tables, xi)]
    said = [f"Tickets against dense, means over conditions and seeds: {'; '.join(means)}." if means else ""]
    note = " ".join(filter(None, [*said, masking_note(tables)]))
    return Section("robustness", "Robustness", (attack_picture(tables),), tuple(made), note)


def _similarity(tables: Tables) -> Section:
    pictures = (removal_picture(tables), layer_picture(tables))
    return Section("similarity", "Similarity", pictures, tuple(similarity_grids(tables)))
