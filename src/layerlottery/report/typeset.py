"""A table for a publication as Markdown (GitHub's pipes), LaTeX (booktabs) or CSV."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from layerlottery import words
from layerlottery.report.publication import Publication
from layerlottery.words import ABSENT

NUMBERS = ["mean", "sd", "low", "high", "seeds", "bold"]


def markdown(table: Publication) -> str:
    """The caption, and a pipe table below it."""
    wide = _wide(table, words.markdown, "**{}**")
    aligned = ["left", *["right"] * (wide.shape[1] - 1)]
    body = wide.to_markdown(index=False, disable_numparse=True, colalign=aligned)
    return f"{words.markdown(table.caption)}\n\n{body}\n"


def latex(table: Publication) -> str:
    """A table environment with the caption in it."""
    wide = _wide(table, words.latex, r"\textbf{{{}}}")
    body = wide.style.hide(axis="index").to_latex(
        hrules=True,
        column_format=f"l{'r' * (wide.shape[1] - 1)}",
        caption=words.latex(table.caption),
        position_float="centering",
    )
    return f"% needs \\usepackage{{booktabs}}\n{body}"


def csv(table: Publication) -> str:
    """A row for each cell, with the numbers themselves."""
    cells = table.cells.assign(
        **{side: [words.one_line(one) for one in table.cells[side]] for side in ("row", "column")}
    )
    return str(cells[["row", "column", *NUMBERS]].to_csv(index=False))


def _wide(table: Publication, escaped: Callable[[object], str], bold: str) -> pd.DataFrame:
    """A column of names and one of texts for each column of the table."""
    texts = [escaped(one) for one in table.cells["text"]]
    texts = [bold.format(one) if is_bold else one for one, is_bold in zip(texts, table.cells["bold"], strict=True)]
    wide = table.cells.assign(text=texts).pivot(index="row", columns="column", values="text").fillna(escaped(ABSENT))
    names = [escaped(one) for one in wide.index]
    found = wide.set_axis([escaped(one) for one in wide.columns], axis=1)
    found.insert(0, escaped(table.head), names)
    return found


FORMATS: dict[str, Callable[[Publication], str]] = {"markdown": markdown, "latex": latex, "csv": csv}
