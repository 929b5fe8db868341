"""A page for each network, from the tables alone: result, removed blocks, curve, cost, tests, provenance, command."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from layerlottery import paths
from layerlottery.config.criteria import SCORED_AS
from layerlottery.config.naming import gone_name
from layerlottery.config.studies import Run
from layerlottery.report.tables import Tables
from layerlottery.report.texts import TEMPLATES
from layerlottery.words import ABSENT, factor, grams, number, percent, scaled, seconds, signed, start, watt_hours

Row = Mapping[Hashable, Any]
Pairs = list[tuple[str, str]]

RUN = [field.name for field in dataclasses.fields(Run)]
CHOICE = ["dataset", "network", "seed", "structure", "criterion", "draw", "scored_at"]
FOLDER = "pages"
LARGE = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
WIDTH, HEIGHT, GAP = 640.0, 150.0, 8.0
KINDS = {"transfer": "made on the dense network: ", "minimum_norm": "minimum norm: "}
PROVENANCE = {
    **{"config_hash": "configuration", "package_version": "layerlottery", "git_commit": "commit"},
    **{"torch_version": "torch", "cuda_version": "CUDA", "driver_version": "NVIDIA driver", "device": "device"},
    **{"threads": "threads", "precision": "precision", "host": "machine", "slurm_job_id": "SLURM job"},
    **{"started": "started (UTC)", "ended": "ended (UTC)", "segments": "segments of the training"},
    **{"power_source": "power", "criterion_settings": "criterion", "training_settings": "training"},
}


def pages_of(report: Path) -> str:
    """The folder of a report's pages, beside it: pages for index.html, and for others by their names."""
    return FOLDER if report.stem == "index" else f"{report.stem}_{FOLDER}"


def write_pages(tables: Tables, report: Path, results: str, options: Sequence[str] = ()) -> None:
    """Write pages/dataset=…/….html beside the report for every network of the runs, and remove older ones.

    `results` is the results folder as commands name it, `options` those that name the benchmark. The names are those of
    the networks' folders in the results.
    """
    folder, named = report.parent, pages_of(report)
    results = shlex.quote(results)
    for old in (folder / named).glob("dataset=*"):
        shutil.rmtree(old)
    (folder / named).mkdir(parents=True, exist_ok=True)
    shown, held = TEMPLATES.get_template("network.html.j2"), _Networks(tables)
    for row in tables.runs.to_dict("records"):
        run = run_of(row)
        # no benchmark gives such names: they are no part of a path
        if not all(re.fullmatch(r"[\w.-]+", str(value), re.ASCII) for value in dataclasses.asdict(run).values()):
            continue
        path = folder / named / page_of(run)
        # the first of several rounds may be a ticket of one removal, too
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"results": results, "options": shlex.join(options), "report": report.name}
        back = "../" * page_of(run).count("/")
        path.write_text(shown.render(held.page(row, run), **facts, back=back), encoding="utf-8")


def page_of(run: Run) -> str:
    """The page of a network, in the folder of a report's pages."""
    return f"{run.folder.removeprefix('networks/')}.html"


def run_of(row: Row) -> Run:
    """The network of a row of the table runs."""
    values: dict[str, Any] = {name: None if pd.isna(row[name]) else row[name] for name in RUN}
    return Run(**values)


@dataclasses.dataclass(frozen=True)
class _Networks:
    tables: Tables

    @cached_property
    def curves(self) -> dict[Run, list[tuple[float, float]]]:
        """Epoch and test accuracy of every network."""
        rows = self.tables.curves
        known = {key: list(zip(own["epoch"], own["test_accuracy"], strict=True)) for key, own in _grouped(rows, RUN)}
        return {run_of(dict(zip(RUN, key, strict=True))): points for key, points in known.items()}

    @cached_property
    def scores(self) -> dict[tuple[Any, ...], list[Row]]:
        """Blocks with their scores, by what chose them."""
        return {key: own.to_dict("records") for key, own in _grouped(self.tables.scores, CHOICE)}

    @cached_property
    def tests(self) -> dict[Run, list[Row]]:
        """Accuracies under every condition."""
        found = _grouped(self.tables.robustness, RUN)
        return {run_of(dict(zip(RUN, key, strict=True))): own.to_dict("records") for key, own in found}

    @cached_property
    def outliers(self) -> dict[Run, list[Row]]:
        """How well outliers are told."""
        found = _grouped(self.tables.detection, RUN)
        return {run_of(dict(zip(RUN, key, strict=True))): own.to_dict("records") for key, own in found}

    def _scores_of(self, run: Run) -> list[Row]:
        """Those that chose a ticket; later rounds were chosen by scores of the round before, which no table has."""
        return [] if run.before else self.scores.get(_choice(run), [])

    def page(self, row: Row, run: Run) -> dict[str, Any]:
        """What network.html.j2 shows."""
        ticket, before = f"{row['family']}, {row['gone']}" if run.removed else "dense", run.before
        return {
            "title": f"{run.dataset} · {run.network}, {ticket}, seed {run.seed}"
            + (f", draw {run.draw}" * (run.draw > 0)),
            "dense": page_of(run.dense) if run.removed else None,
            "before": page_of(before) if before else None,
            "folder": run.folder,
            "weights": paths.trained_weights(run.folder),
            "result": [*_result(row, run), *_cost(row)],
            "blocks": _bars(self._scores_of(run), row["removed_blocks"], bool(run.removed)),
            "curve": _curve(self.curves.get(run, []), self.curves.get(run.dense, []) if run.removed else []),
            "tests": [_test(one) for one in self.tests.get(run, [])],
            "outliers": [_told(one) for one in self.outliers.get(run, [])],
            "provenance": list(_provenance(row)),
        }


def _grouped(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    return iter(rows.groupby(keys, sort=False, dropna=False))


def _choice(run: Run) -> tuple[Any, ...]:
    values = dataclasses.asdict(run) | {"structure": SCORED_AS.get(run.structure, run.structure)}
    return tuple(values[name] for name in CHOICE)


def _result(row: Row, run: Run) -> Iterator[tuple[str, str]]:
    yield "accuracy", percent(row["accuracy"])
    if run.removed:
        yield "dense network of that seed", percent(row["dense_accuracy"])
        yield "difference", f"{signed(row['delta_accuracy'])} percentage points"
        if run.step:
            yield "round", f"{run.round}, {gone_name(run.structure, run.step)} removed in each"
        yield "trained from", _start(run)
        if row["removed_blocks"] is not None and len(row["removed_blocks"]):
            yield "removed blocks", ", ".join(row["removed_blocks"])
    yield "trained for", f"{row['epochs']:.0f} epochs, {row['train_images']:.0f} images"


def _start(run: Run) -> str:
    if run.is_tuned:
        return f"trained weights{' of the round before' * (run.round > 1)}, fine-tuned"
    return start(run.rewind)


def _cost(row: Row) -> Iterator[tuple[str, str]]:
    for words, name, unit, saved in (
        ("MACs", "macs", "", "macs_reduction"),
        ("parameters", "params", "", ""),
        ("training memory", "memory_bytes", "B", "memory_reduction"),
    ):
        less = f", {percent(row[saved])} less than dense" if saved and row[saved] else ""
        yield words, scaled(row[name], unit, LARGE).rstrip() + less
    yield "latency", f"{number(row['latency_ms'])} ms"
    yield "training time", f"{seconds(row['train_seconds'])}, speed-up {factor(row['train_speedup'])}"
    yield "energy", watt_hours(row["energy_kwh"])
    yield "CO2", grams(row["co2_kg"])
    if row["total_seconds"] > row["train_seconds"]:
        spent = f"{watt_hours(row['total_kwh'])}, {grams(row['total_co2_kg'])} CO2"
        speed = f"speed-up {factor(row['total_speedup'])}"
        yield "with all trainings it rests on", f"{seconds(row['total_seconds'])}, {spent}, {speed}"


def _provenance(row: Row) -> Iterator[tuple[str, str]]:
    for name, words in PROVENANCE.items():
        value = row[name]
        if isinstance(value, str) and value.startswith("{"):
            value = ", ".join(f"{key} {one}" for key, one in json.loads(value).items()) or ABSENT
        if not pd.isna(value):
            yield words, f"{value:g}" if isinstance(value, float) else str(value)


def _test(row: Row) -> tuple[str, str, str, str]:
    attacked = row["kind"] in ("attack", "transfer", "minimum_norm")
    level = f"{row['level']:g}/255" if attacked and row["level"] else f"{row['level']:g}" if row["level"] else ""
    name = f"{KINDS.get(row['kind'], '')}{row['name']}".replace("_", " ")
    untouched = (
        ", the same images unattacked" if attacked and not row["level"] and row["kind"] != "minimum_norm" else ""
    )
    return name + untouched, level, number(row["accuracy"]), signed(row["delta_accuracy"])


def _told(row: Row) -> tuple[str, str, str, str]:
    name = f"{row['outliers']} told by {row['score']}".replace("_", " ")
    return name, str(row["distance"]), number(row["auroc"], 3), signed(row["delta_auroc"], 3)


def _bars(scored: list[Row], removed: Any, pruned: bool) -> dict[str, Any] | None:
    """A bar for every block, as high as its score; heights from the lowest score, or 0, to the highest."""
    if not scored:
        return None
    gone = set() if removed is None else set(removed)
    known = [float(one["score"]) for one in scored if not pd.isna(one["score"])]
    low, high = min([0.0, *known]), max([0.0, *known])
    side, bars, x = min(34.0, WIDTH / (len(scored) + 4)), [], 0.0
    for place, one in enumerate(scored):
        x += GAP if place and one["stage"] != scored[place - 1]["stage"] else 0
        score = 0.0 if pd.isna(one["score"]) else float(one["score"])
        ends = sorted(HEIGHT * (1 - (value - low) / ((high - low) or 1)) for value in (0.0, score))
        fate = "can't go" if not one["removable"] else "removed" if one["block"] in gone else "kept" if pruned else ""
        bars.append({"x": x, "y": ends[0], "height": ends[1] - ends[0], "fate": fate, **one})
        x += side
    return {"bars": bars, "width": x, "side": side - 3, "height": HEIGHT}


def _curve(own: list[tuple[float, float]], dense: list[tuple[float, float]]) -> dict[str, Any] | None:
    """Polylines of test accuracy by epoch, in a box of WIDTH by HEIGHT."""
    if len(own) < 2:
        return None
    every = own + dense
    last, values = max(epoch for epoch, _ in every), [value for _, value in every]
    low, high = min(values), max(values)

    def line(points: list[tuple[float, float]]) -> str:
        scale = (high - low) or 1
        return " ".join(f"{WIDTH * e / last:.1f},{HEIGHT * (1 - (value - low) / scale):.1f}" for e, value in points)

    return {"own": line(own), "dense": line(dense), "low": low, "high": high, "last": int(last)}
