"""One network as text, for the command `show`: as wide as the terminal, without colours where it is piped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from layerlottery.config.naming import gone_name, network_name
from layerlottery.config.rounds import SHARE
from layerlottery.config.studies import FRESH
from layerlottery.paths import TUNED
from layerlottery.report.evaluation import DETECTION, condition_rows, detection_rows, section
from layerlottery.words import (
    ABSENT,
    TIMES,
    counted,
    factor,
    number,
    percent,
    scaled,
    seconds,
    signed,
    start,
    terminal,
    watt_hours,
)

Facts = Mapping[str, Any]
Row = tuple[str, ...]

LARGE = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
SEGMENT = ("start (UTC)", "end (UTC)", "host", "SLURM job", "time", "energy")
LONG = 60
NUMBERS = {"score", "raw", "time", "energy"}
STYLES = {"damaged": "bold red", "missing": "yellow", "not yet": "dim", "foreign": "dim"}


def network_text(description: Facts, *, width: int | None = None) -> str:
    """The findings of upkeep.show.describe, a section each, in `width` columns or the terminal's; unknown is a dash."""
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        _print(console, description)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines())


def _print(console: Console, description: Facts) -> None:
    removal, training = description["removal"], description["training"]
    section(console, "network", _identity(description["identity"]))
    section(console, "result", _result(description["result"]))
    if removal is not None:
        section(console, "removed", _removed(removal))
        _table(console, ("block", "score", "raw", ""), map(_score, removal["scores"]))
    section(console, "cost", _cost(description["cost"]))
    section(console, "training", _energy(training))
    _table(console, SEGMENT, map(_segment, training["segments"]))
    section(console, "provenance", map(_provenance, description["provenance"].items()))
    found = [*detection_rows(description["detection"])]
    tested = [*condition_rows(description["evaluation"]), *found, *(DETECTION if found else ())]
    section(console, "evaluation", [*tested, *_similarity(description["similarity"])])
    files = description["files"]
    section(console, "files", map(_file, files), styles=[STYLES.get(file["state"]) for file in files])


def _table(console: Console, heads: Row, rows: Iterable[Row]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, overflow="fold", justify="right" if head in NUMBERS else "left")
    for row in rows:
        table.add_row(*map(terminal, row))
    if table.row_count:
        console.print()
        console.print(table)


def _text(value: object, write: Callable[[Any], str] = str) -> str:
    return ABSENT if value is None else write(value)


def _provenance(item: tuple[str, object]) -> Row:
    return item[0].removesuffix("_version").replace("_", " "), _text(item[1])


def _identity(identity: Facts) -> list[Row]:
    chosen = "dense, nothing removed"
    if identity["removed"]:
        chosen = (
            f"{identity['structure']}, {_size(identity)} removed{_rounds(identity)}, scored by "
            f"{identity['criterion']} ({identity['scored_at']}, draw {identity['draw']}), "
            f"trained from {_start(identity['rewind'], identity['round'])}"
        )
    return [("name", network_name(identity)), ("ticket", chosen), ("folder", identity["folder"])]


def _size(identity: Facts) -> str:
    if identity["structure"] == SHARE:
        return f"{gone_name(SHARE, identity['removed'])} of the filters"
    return counted(identity["removed"], "block", "blocks")


def _rounds(identity: Facts) -> str:
    if identity["round"] < 2:
        return ""
    return f" in {identity['round']} rounds of {gone_name(identity['structure'], identity['step'])}"


def _start(rewind: str, number_of_rounds: int) -> str:
    if TUNED.fullmatch(rewind):
        return f"the trained weights{' of the round before' * (number_of_rounds > 1)}, fine-tuned"
    return "fresh weights" if rewind == FRESH else start(rewind)


def _result(result: Facts) -> Iterable[Row]:
    yield "accuracy", _text(result["accuracy"], percent)
    if "delta_accuracy" in result:
        yield "dense network", _text(result["dense_accuracy"], percent)
        yield "difference", _text(result["delta_accuracy"], lambda delta: f"{signed(delta)} percentage points")
    if result["epochs"] is None:
        yield "trained", ABSENT
        return
    after = f" after the first {result['start_epoch']}" if result["start_epoch"] else ""
    images = f"{result['train_images']} images, {number(result['images_per_second'], 0)} images/s"
    yield "trained", f"{counted(result['epochs'], 'epoch', 'epochs')}{after}, {images}"


def _removed(removal: Facts) -> Iterable[Row]:
    yield "blocks", _text(removal["removed_blocks"], lambda blocks: ", ".join(blocks) or "none")
    if removal["budget"] is not None:
        yield "budget", f"{removal['budget']} kept, as in the layer ticket"
    yield "ties", _text(removal["tied"], lambda tied: f"{tied} kept with the score of a removed one")
    yield "criterion", _settings(removal["settings"] or {}) or ABSENT
    if removal["left"]:
        yield "left", _settings(removal["left"])


def _settings(values: Facts) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _score(block: Facts) -> Row:
    figures = (_text(block[name], "{:.6g}".format) for name in ("score", "raw"))
    return (block["name"], *figures, block["fate"] or "")


def _cost(cost: Facts | None) -> Iterable[Row]:
    if cost is None:
        return
    for label, name, unit in (("parameters", "params", ""), ("MACs", "macs", ""), ("memory", "memory_bytes", "B")):
        part = f"{name.removesuffix('_bytes')}_reduction"
        less = f", {percent(cost[part])} less than the dense network" if part in cost else ""
        yield label, scaled(cost[name], unit, LARGE).rstrip() + less
    yield "filters", str(cost["filters"])
    speed = f", {factor(cost['latency_speedup'])} the dense network's speed" if "latency_speedup" in cost else ""
    yield "latency", f"{cost['latency_ms']:.3g} ms for {counted(cost['latency_batch'], 'image', 'images')}{speed}"


def _energy(training: Facts) -> Iterable[Row]:
    segments = training["segments"]
    if not segments:
        return
    parts = ", ".join(f"{part} {_kwh(training[f'{part.lower()}_kwh'])}" for part in ("CPU", "GPU", "RAM"))
    yield "time", seconds(sum(segment["seconds"] for segment in segments))
    yield "energy", f"{_kwh(training['kwh'])}: {parts}"
    yield "measured by", "; ".join(dict.fromkeys(segment["power_source"] for segment in segments))


def _kwh(value: float) -> str:
    return watt_hours(value)


def _segment(segment: Facts) -> Row:
    times = (_text(segment.get(name)).replace("T", " ").rstrip("Z") for name in ("started", "ended"))
    restarts = segment.get("slurm_restarts")
    job = _text(segment.get("slurm_job_id")) + (f" (requeued {restarts}{TIMES})" if restarts else "")
    return (*times, _text(segment.get("host")), job, seconds(segment["seconds"]), _kwh(segment["kwh"]))


def _similarity(rows: Sequence[Facts]) -> Iterable[Row]:
    known = {row["layer"]: row["cka"] for row in rows if row["cka"] is not None}
    if known:
        lowest = min(known, key=lambda layer: known[layer])
        layers = {"penultimate", lowest} & known.keys()
        yield "CKA to dense", ", ".join(f"{layer} {known[layer]:.3f}" for layer in known if layer in layers)


def _file(file: Facts) -> Row:
    return file_name(file["file"]), f"{file['state']}: {file['reason']}" if file["reason"] else file["state"]


def file_name(path: str) -> str:
    """A file's path from the network's folder; the steps up of a long one are left out, so that its state has room."""
    return f"…/{path.replace('../', '')}" if len(path) > LONG else path
