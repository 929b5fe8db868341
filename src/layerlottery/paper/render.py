"""The paper's tables as Markdown (GitHub's pipes) and LaTeX (booktabs): the same cells, escaped in two ways."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerlottery import words
from layerlottery.paper.measure import Row
from layerlottery.paper.printed import SEPARATOR
from layerlottery.words import ABSENT, number, signed

HERE = Path(__file__).parent
TEXTS = tomllib.loads((HERE / "texts.toml").read_text(encoding="utf-8"))
CAPTIONS, REMARKS = TEXTS["captions"], TEXTS["remarks"]
SIGNED = ("pp", "CKA")  # units of differences, which show their sign
DIGITS = {"pp": 2, "%": 2, "factor": 2}
RIGHT = ("paper", "measured", "seeds", "random")


def markdown(name: str, rows: Sequence[Row], *, confidence: float) -> str:
    """A pipe table with its caption above, remarks and numbered notes below."""
    return _written("table.md.j2", words.markdown, sheet(name, rows, confidence=confidence))


def latex(name: str, rows: Sequence[Row], *, confidence: float) -> str:
    r"""A table environment for \input; the preamble needs \usepackage{booktabs}."""
    marks = {"variable_start_string": "<<", "variable_end_string": ">>", "comment_start_string": "<#"}
    marks |= {"block_start_string": "<%", "block_end_string": "%>", "comment_end_string": "#>"}
    return _written("table.tex.j2", words.latex, sheet(name, rows, confidence=confidence), **marks)


def _written(template: str, escape: Callable[[object], str], shown: Row, **marks: Any) -> str:
    environment = Environment(  # noqa: S701 - not HTML: whatever a template writes goes through `escape`
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=escape,
        **marks,
    )
    environment.tests["number"] = lambda head: head in RIGHT or head.endswith("interval")
    return environment.get_template(template).render(shown).rstrip() + "\n"


def sheet(name: str, rows: Sequence[Row], *, confidence: float) -> dict[str, Any]:
    """The contents of a table as plain text; dataset, network and quantity have columns only where they vary."""
    cells = [_cells(row, confidence) for row in rows]
    notes = list(dict.fromkeys(note for row in rows for note in _notes(row)))
    same = {head for head in ("dataset", "network", "quantity") if len({one[head] for one in cells}) == 1}
    caption = CAPTIONS[name]
    if {"dataset", "network"} <= same:
        caption += f" {cells[0]['dataset']}, {cells[0]['network']}."
    if "quantity" in same:
        caption += f" {cells[0]['quantity']}."
    # figure 3 has scores, not tickets: there is nothing to remove at random
    dropped = same | ({"random", "against random"} if name == "figure3" else set())
    kept = [{head: text for head, text in one.items() if head not in dropped} for one in cells]
    marks = (", ".join(str(place) for place in sorted(notes.index(note) + 1 for note in _notes(row))) for row in rows)
    return {
        "name": name,
        "caption": caption,
        "heads": list(kept[0]) if kept else [],
        "rows": list(zip(kept, marks, strict=True)),
        "remarks": list(_remarks(name, rows)) if rows else [REMARKS["empty"]],
        "notes": notes,
    }


def _cells(row: Row, confidence: float) -> dict[str, str]:
    ends = row.get("low"), row.get("high")
    return {
        "dataset": row["dataset"],
        "network": row["network"],
        "item": row["item"],
        "quantity": f"{row['quantity']} ({row['unit']})",
        "paper": _figure(row, "paper"),
        "measured": _figure(row, "measured"),
        f"{100 * confidence:g} % interval": (
            ABSENT if None in ends else f"[{_figure(row, 'low')}, {_figure(row, 'high')}]"
        ),
        "seeds": str(row["seeds"]),
        "verdict": row["verdict"],
        "random": _figure(row, "random"),
        "against random": row.get("against_random") or ABSENT,
    }


def _figure(row: Row, column: str) -> str:
    value, unit = row.get(column), row["unit"]
    if value is None:
        return ABSENT
    return (signed if unit in SIGNED else number)(value, DIGITS.get(unit, 3))


def _notes(row: Row) -> list[str]:
    return row["note"].split(SEPARATOR) if row.get("note") else []


def _remarks(name: str, rows: Sequence[Row]) -> Iterable[str]:
    """Sentences on margins, controls and scale, each only where it applies."""
    margins = dict.fromkeys(f"{row['quantity']} {row['margin']:g} {row['unit']}" for row in rows if row.get("margin"))
    scales = dict.fromkeys(row["scale"] for row in rows if row.get("scale"))
    accuracy = {row["quantity"].startswith("Δ accuracy") for row in rows if row.get("against_random")}
    applies = {
        "margins": margins,
        "side": name == "claims",
        "controlled": name not in ("claims", "figure3") and any(row["seeds"] for row in rows),
        "by_holm": True in accuracy,
        "by_interval": False in accuracy,
        "scale": scales,
        "small": scales.keys() - {"the paper's"},
        "alone": any(row["seeds"] == 1 for row in rows),
    }
    facts = {"margins": ", ".join(margins), "scales": "; ".join(scales)}
    return (REMARKS[remark].format(**facts) for remark, holds in applies.items() if holds)
