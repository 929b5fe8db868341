"""Stage report: the result tables become one page that needs nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from layerlottery import paths
from layerlottery.config.provenance import config_hash
from layerlottery.config.results import ReportSettings
from layerlottery.report.accuracy import tradeoff_picture
from layerlottery.report.explore import explorer, vega
from layerlottery.report.forest import Forest, forest
from layerlottery.report.pages import pages_of, write_pages
from layerlottery.report.paper import read_paper
from layerlottery.report.recipes import recipe_facts, ticket_words
from layerlottery.report.sections import left_out, sections
from layerlottery.report.series import confidence_of
from layerlottery.report.tables import Tables, at_tolerance, read_tables, tolerance_name, trainings
from layerlottery.report.texts import TEMPLATES, TEXTS
from layerlottery.report.verdict import chosen, findings, overall, tolerance_words
from layerlottery.store.artifacts import write_document
from layerlottery.store.chain import Chain
from layerlottery.store.lock import options_of
from layerlottery.store.seals import file_digest
from layerlottery.words import either, scaled, seconds

# from kWh to Wh, and from kg to g
THOUSANDS = (("k", 1.0), ("", 1e-3), ("m", 1e-6))
# nobody misses these on a CPU
NVIDIA = ("cuda_version", "driver_version")


def report(
    tables: Path,
    output: Path,
    settings: ReportSettings,
    *,
    results: Path | None = None,
    named: str = "",
    note: str = "",
    interactive: bool = True,
) -> None:
    """Write the page from the result tables and those of the paper's tables that are there.

    Commands on it call the results folder by its path from here, with the options of the benchmark that ran there, or
    `named` and without any. What is not `interactive` lacks the figures that a reader filters, and the library that
    draws them: 0.9 MB.

    Raises LayerLotteryError when a table is missing or broken, or when settings.xi was not computed.
    """
    held = read_tables(tables)
    xi = tolerance_name(settings)
    beside = results or tables.parent
    named, options = (named, []) if named else (_named(beside), options_of(beside))
    found, plot = findings(held, xi), forest(held, xi)
    page = TEMPLATES.get_template("page.html.j2").render(
        title=settings.title,
        note=note,
        headline=overall(found, held, xi),
        findings=found,
        forest_plot=plot,
        forest_words=_forest_words(plot, held, xi),
        tradeoff=tradeoff_picture(held, xi),
        ticket_words=ticket_words(chosen(at_tolerance(held.summary, xi))),
        tolerance=tolerance_words(xi),
        several_seeds=int(held.runs["seed"].nunique()) > 1,
        confidence=f"{100 * confidence_of(held.summary):g}",
        tiles=tiles(held.runs),
        links=[] if note else linked(tables, output),
        held=explorer(held, named, options, pages_of(output)),
        vega=vega() if interactive else "",
        sections=sections(held, read_paper(tables), xi),
        left_out=left_out(held),
        facts=measured(held.runs),
    )
    files, chain = sorted(tables.glob("*.parquet")), Chain()
    chain.read(*(file for file in files if file.stem in paths.TABLES + paths.PAPER))
    # not before all is known to be good
    write_pages(held, output, named, options)
    made_by = config_hash("report", settings, [file_digest(file) for file in files])
    write_document(output, page, comment=("<!-- ", " -->"), config_hash=made_by, inputs=chain.inputs)


def _named(results: Path) -> str:
    """The results folder as commands name it: from the current folder, where it lies there."""
    here = Path.cwd()
    return (results.resolve().relative_to(here) if results.resolve().is_relative_to(here) else results).as_posix()


def linked(tables: Path, output: Path) -> list[tuple[str, str]]:
    """What lies beside the page: words and relative addresses."""
    beside = [
        ("tables (Parquet)", tables),
        ("configuration, versions, machines (manifest.json)", tables.parent / "manifest.json"),
    ]
    # the manifest may be written a moment later
    return [(words, quote(os.path.relpath(path, output.parent))) for words, path in beside]


def _forest_words(plot: Forest | None, held: Tables, xi: str) -> dict[str, str]:
    words = TEXTS["forest"]
    left_out = words["left_out"].format(count=plot.left_out) if plot and plot.left_out else ""
    confidence = f"{100 * confidence_of(held.summary):g}"
    caption = words["caption"].format(confidence=confidence, tolerance=tolerance_words(xi), left_out=left_out)
    return {"title": words["title"], "caption": caption}


def tiles(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """The key figures: number and what it counts."""
    spent, distinct = trainings(runs), int(runs["same_as"].isna().sum())
    energy, mass = (spent[name].sum(min_count=1) for name in ("energy_kwh", "co2_kg"))
    return [
        (f"{distinct}", "networks trained" if distinct == len(runs) else f"distinct networks, under {len(runs)} names"),
        (f"{runs['seed'].nunique()}", "seeds" if runs["seed"].nunique() > 1 else "seed"),
        (f"{runs['dataset'].nunique()}", "datasets" if runs["dataset"].nunique() > 1 else "dataset"),
        (seconds(float(spent["train_seconds"].sum(min_count=1))), "of training"),
        (scaled(float(energy), "Wh", THOUSANDS), "energy"),
        (scaled(float(mass), "g", THOUSANDS), "CO2-equivalent"),
    ]


def measured(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Facts that the runs recorded about where and how they ran."""
    held = {name: runs[name].dropna().tolist() for name in TEXTS["facts"]}
    # the first start and the last end stand for all
    held |= {"started": sorted(held["started"])[:1], "ended": sorted(held["ended"])[-1:]}
    recipes = recipe_facts(runs)
    # where there are several, each says its own epochs
    unsaid = {*(name for name in NVIDIA if not held[name]), *(["epochs"] if recipes else [])}
    facts = [(words, either(held[name])) for name, words in TEXTS["facts"].items() if name not in unsaid]
    return [*recipes, *facts]
