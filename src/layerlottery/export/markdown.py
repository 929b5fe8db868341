"""Pieces of a Markdown document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Rows = Iterable[Sequence[object]]


def cell(value: object) -> str:
    """A value on one line that can't end the cell of a table."""
    return re.sub(r"\s*\n\s*", " ", str(value)).replace("|", "\\|")


def table(heads: Sequence[str], rows: Rows, *, right: Sequence[int] = ()) -> str:
    """A table; columns in `right` hold numbers. Nothing without rows."""
    lines = [f"| {' | '.join(map(cell, row))} |" for row in rows]
    marks = ["---:" if place in right else "---" for place in range(len(heads))]
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'|'.join(marks)}|", *lines]) if lines else ""


def pairs(rows: Rows) -> str:
    """A table of names and values; those that are None or empty are left out."""
    known = [(name, cell(value)) for name, value in rows if value not in (None, "")]
    lines = [f"| {cell(name)} | {value} |" for name, value in known]
    return "\n".join(["| | |", "|---|---|", *lines]) if lines else ""


def code(text: str, language: str) -> str:
    """A fenced block."""
    return f"```{language}\n{text.strip()}\n```"


def document(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A title and sections; the first has no heading if it is called "", empty ones are left out."""
    parts = [f"# {title}"]
    for heading, body in sections:
        if body.strip():
            parts += [f"## {heading}", body.strip()] if heading else [body.strip()]
    return "\n\n".join(parts) + "\n"
