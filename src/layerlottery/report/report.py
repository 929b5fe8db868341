"""Stage report: the result tables become one page that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerlottery.report import grids
from layerlottery.report.accuracy import accuracy_picture, curves_picture, difference_picture
from layerlottery.report.blocks import blocks_picture
from layerlottery.report.cost import cost_of, savings_picture, speed_picture
from layerlottery.report.robustness import attack_picture
from layerlottery.report.series import confidence_of
from layerlottery.report.style import Picture
from layerlottery.report.tables import Tables, at_tolerance, read_tables, tolerance_name
from layerlottery.report.verdict import findings, tolerance_words
from layerlottery.report.words import either, scaled, seconds
from layerlottery.results.artifacts import write_text
from layerlottery.settings import ReportSettings

HERE = Path(__file__).parent
ENERGY = (("k", 1.0), ("", 1e-3), ("m", 1e-6))
MASS = (("k", 1.0), ("", 1e-3), ("m", 1e-6))
FACTS = {
    "device": "device",
    "threads": "threads",
    "precision": "precision",
    "epochs": "epochs",
    "train_images": "training images",
    "power_source": "power",
    "carbon_intensity": "kg CO2 a kWh",
    "latency_batch": "images while timing latency",
    "latency_threads": "threads while timing latency",
    "package_version": "layerlottery",
}


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


def report(tables: Path, output: Path, settings: ReportSettings) -> None:
    """Write the page from tables/{runs,robustness,curves,scores,summary}.parquet.

    Raises LayerLotteryError when a table is missing or broken, or when settings.xi was not computed.
    """
    held = read_tables(tables)
    xi = tolerance_name(settings)
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        title=settings.title,
        findings=findings(held, xi),
        tolerance=tolerance_words(xi),
        several_seeds=int(held.runs["seed"].nunique()) > 1,
        confidence=f"{100 * confidence_of(held.summary):g}",
        tiles=tiles(held.runs),
        sections=sections(held, xi),
        facts=measured(held.runs),
    )
    write_text(output, page)


def sections(tables: Tables, xi: str) -> list[Section]:
    """Everything between the verdict and the method."""
    costs = cost_of(tables, xi)
    return [
        Section("accuracy", "Accuracy", (accuracy_picture(tables), difference_picture(tables, xi))),
        Section("summary", "Every ticket", (), tuple(grids.summary_grids(tables)), _summary_note(tables, xi)),
        Section(
            "cost",
            "Cost saved",
            (savings_picture(costs), speed_picture(costs)),
            () if costs.empty else (grids.cost_grid(costs),),
        ),
        _robustness(tables, xi),
        Section("curves", "Learning curves", (curves_picture(tables),)),
        Section("blocks", "Removed blocks", (blocks_picture(tables),)),
    ]


def _summary_note(tables: Tables, xi: str) -> str:
    if at_tolerance(tables.summary, xi).empty:
        return "No ticket was trained."
    return (
        "Accuracy: mean ± standard deviation over seeds. Δ: mean paired difference to the dense network with its "
        "t interval. Under each tolerance: the verdict, then in how many seeds the ticket won."
    )


def _robustness(tables: Tables, xi: str) -> Section:
    corrupted = grids.heat_grids(tables, "corruption", "Corruptions")
    shifted = grids.heat_grids(tables, "shift", "Shifted test sets")
    missing = [name for name, grid in (("corruptions", corrupted), ("shifted test sets", shifted)) if not grid]
    notes = [f"{' and '.join(missing).capitalize()} were not evaluated in this benchmark."] if missing else []
    means = [f"{name} {words}" for name, words in grids.robustness_means(tables, xi)]
    notes += [f"Tickets against dense, means over conditions and seeds: {'; '.join(means)}."] if means else []
    every = (*corrupted, *shifted, *grids.calibration_grids(tables))
    return Section("robustness", "Robustness", (attack_picture(tables),), every, " ".join(notes))


def tiles(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """The key figures: number and what it counts."""
    energy, mass = (runs[name].sum(min_count=1) for name in ("energy_kwh", "co2_kg"))
    return [
        (f"{len(runs)}", "networks trained"),
        (f"{runs['seed'].nunique()}", "seeds" if runs["seed"].nunique() > 1 else "seed"),
        (f"{runs['dataset'].nunique()}", "datasets" if runs["dataset"].nunique() > 1 else "dataset"),
        (seconds(float(runs["train_seconds"].sum(min_count=1))), "of training"),
        (scaled(float(energy), "Wh", ENERGY), "energy"),
        (scaled(float(mass), "g", MASS), "CO2-equivalent"),
    ]


def measured(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """What the runs recorded about where and how they ran."""
    return [(words, either(runs[column].dropna().tolist())) for column, words in FACTS.items()]
