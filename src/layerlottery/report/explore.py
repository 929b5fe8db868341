"""The data of the page's interactive figures: a row per network, a column per quantity; explore.js draws them."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
from markupsafe import Markup

from layerlottery import paths
from layerlottery.config.evaluation import MAIN_CORRUPTIONS
from layerlottery.config.studies import Run
from layerlottery.report.style import Look, looks
from layerlottery.report.tables import Tables, group_name, is_share
from layerlottery.report.texts import TEXTS
from layerlottery.words import visible

RUN = [field.name for field in dataclasses.fields(Run)]
# quantities are sent with so many digits: more than the eye sees
DIGITS = 5
# the axes that are shown first, the former of those that hold numbers: costs are profiled last
FIRST = {
    "x1": ("macs_reduction", "blocks", "share"),
    "y1": ("delta_accuracy",),
    "x2": ("train_seconds",),
    "y2": ("accuracy",),
}
UNITS = {"macs": 1e-6, "params": 1e-3, "memory_bytes": 1e-6, "energy_kwh": 1e3}


def explorer(tables: Tables, results: str, options: Sequence[str] = (), pages: str = "pages") -> Markup:
    """What explore.js needs, as JSON that can stand in a page: columns, axes with their words, looks of families.

    `results` is the results folder as commands name it, `options` those that name the benchmark, `pages` the folder of
    the networks' pages.
    """
    rows = quantities(tables)
    axes = {name: words for name, words in TEXTS["axes"].items() if rows[name].notna().any()}
    whole = {
        "columns": {name: _column(rows[name]) for name in [*RUN, "family", "group", "ticket", "control", *axes]},
        "axes": axes,
        "first": {
            place: next((name for name in names if name in axes), next(iter(axes))) for place, names in FIRST.items()
        },
        "looks": _looks(tables.runs, rows),
        "folders": [paths.DENSE, paths.TICKET],
        "command": [f"snakemake --cores all {shlex.quote(results)}/", shlex.join(options)],
        "pages": pages,
    }
    text = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    # nothing in a string may end the element that holds it
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))  # noqa: S704


def quantities(tables: Tables) -> pd.DataFrame:
    """The runs with every quantity that can be an axis, in its unit, and with their names."""
    runs = tables.runs.assign(**{name: tables.runs[name] * factor for name, factor in UNITS.items()})
    runs = runs.assign(
        group=[group_name(one) for one in runs[["dataset", "network"]].itertuples(index=False)],
        control=runs["family"].isin(tables.summary.loc[tables.summary["is_control"].astype(bool), "family"]),
    )
    # blocks and percent of the filters have no common axis
    share, dense = is_share(runs), runs["removed"] == 0
    runs["share"] = runs["removed"].where(share | (dense & share.any()))
    runs["blocks"] = runs["removed"].where(~share)
    names = runs[["group", "family", "gone"]].itertuples(index=False, name=None)
    runs["ticket"] = [", ".join(filter(None, parts)) for parts in names]
    return runs.merge(_robustness(tables), how="left", on=RUN)


def _robustness(tables: Tables) -> pd.DataFrame:
    rows, tests = tables.robustness, tables.detection
    corrupted = rows[(rows["kind"] == "corruption") & rows["name"].isin(MAIN_CORRUPTIONS)]
    errors = corrupted.assign(own=100 - corrupted["accuracy"], dense=100 - corrupted["dense_accuracy"])
    sums = errors.groupby([*RUN, "name"], dropna=False)[["own", "dense"]].sum()
    ratios = (100 * sums["own"] / sums["dense"].where(sums["dense"] > 0)).groupby(level=RUN, dropna=False).mean()
    attacked = rows[(rows["kind"] == "attack") & (rows["level"] > 0)].groupby(RUN, dropna=False)["accuracy"].mean()
    told = tests.groupby(RUN, dropna=False)["auroc"].mean()
    # dense networks have no criterion: an index would not find them, a merge does
    return pd.DataFrame({"mce": ratios, "attacked": attacked, "auroc": told}).reset_index(names=RUN)


def _column(values: pd.Series) -> Any:
    """Numbers as they are, words as places in a list: names repeat."""
    if values.name in ("seed", "draw"):
        values = values.astype(str)  # may have more digits than JavaScript's numbers
    elif pd.api.types.is_bool_dtype(values) or pd.api.types.is_integer_dtype(values):
        return values.tolist()
    elif pd.api.types.is_numeric_dtype(values):
        return [None if pd.isna(one) else float(f"{one:.{DIGITS}g}") for one in values]
    codes, words = pd.factorize(values)
    return {"words": [visible(one) for one in words], "codes": codes.tolist()}


def _looks(runs: pd.DataFrame, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Colour (a CSS variable) and symbol of every family; controls are grey."""
    entries = looks(runs)
    firsts = rows.drop_duplicates("family").set_index("family")
    found = {}
    for family, criterion, control in firsts[["criterion", "control"]].itertuples(name=None):
        look = entries.get(criterion)
        colour = "--ink" if look is None else "--random" if control else look.css.removeprefix("var(").rstrip(")")
        found[visible(family)] = [colour, _symbol(look)]
    return found


def _symbol(look: Look | None) -> str:
    corners = look.marker if look else [(-1.0, 0.4), (-1.0, -0.4), (1.0, -0.4), (1.0, 0.4)]
    return "M" + "L".join(f"{x},{-y}" for x, y in corners) + "Z"


@lru_cache
def vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script that sets `vegaEmbed`; from the package vl-convert, offline."""
    import vl_convert

    # its stub knows no default; and the text of no string in it may end the element
    bundle = vl_convert.javascript_bundle().replace("</script", r"<\/script")  # type: ignore[call-arg]
    return Markup(bundle)  # noqa: S704 - a library's code
