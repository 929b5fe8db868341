"""Contents of a figure's panels: one dataset, network and variant each, and a selection of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from layerlottery.config.naming import family_name, gone_name
from layerlottery.config.rounds import SHARE
from layerlottery.report.tables import DENSE, Tables, group_name, tickets, variant_words, variants, within
from layerlottery.words import gone, ranges


@dataclass(frozen=True)
class Facet:
    """The contents of one panel without crowding: one dataset, network and variant, with its dense networks."""

    key: str
    group: str
    where: tuple[str, ...]
    rows: pd.DataFrame
    words: tuple[str, ...] = ()
    structure: str = "layers"

    @property
    def heading(self) -> str:
        """The panel's distinguishing name; whatever the whole page shares is left out."""
        return ", ".join((*self.words, *self.where)) or self.group

    def narrowed(self, key: str, words: str, rows: pd.DataFrame) -> Facet:
        """A panel of some of the rows, or of what was made from them."""
        return replace(self, key=f"{self.key}{key}", words=(*self.words, words), rows=rows)

    def sizes(self, most: int) -> list[Facet]:
        """A panel per number of blocks removed, but at most so many, each with the dense networks."""
        shown = spread(self.removed, max(1, most))
        names = {p: gone(gone_name(self.structure, p)) for p in shown}
        return [self.narrowed(f"x{p}", name, self.rows[self.rows["removed"].isin((0, p))]) for p, name in names.items()]

    @property
    def removed(self) -> list[int]:
        """The numbers of blocks removed."""
        return sorted(set(tickets(self.rows)["removed"]))


def facets(tables: Tables, frame: pd.DataFrame, key: str) -> list[Facet]:
    """The panels that one of the tables needs; their keys begin with `key` and are unique."""
    many, datasets = len(variants(tables.runs)) > 1, tables.runs["dataset"].nunique()
    found = []
    for index, group in enumerate(tables.by_group):
        named = [group_name(group if datasets > 1 else group[1:])] if len(tables.by_group) > 1 else []
        own = within(frame, group)
        for place, variant in enumerate(variants(own)):
            where = (*([variant_words(variant)] if many else []), *named)
            rows = own[own["variant"].isin((DENSE, variant))]
            structure = str(tickets(rows)["structure"].iloc[0])
            found.append(Facet(f"{key}{index}x{place}", group_name(group), where, rows, structure=structure))
    return found


def apart(held: Sequence[Facet], values: Sequence[str], most: int) -> list[Facet]:
    """The panels, with an axis that those of a dataset and network share; one a criterion where these are too many.

    The axis' ends, those of the columns `values`, stand in `bottom` and `top`.
    """
    found = []
    for one in held:
        ends = pd.concat([other.rows[list(values)] for other in held if other.group == one.group]).stack()
        rows = one.rows.assign(bottom=ends.min(), top=ends.max())
        names = list(dict.fromkeys(tickets(rows)["criterion"]))
        if len(names) <= most:
            found.append(replace(one, rows=rows))
            continue
        kept = (rows["criterion"].isna() | (rows["criterion"] == name) for name in names)
        found += [
            one.narrowed(f"c{place}", family_name(names[place], ""), rows[part]) for place, part in enumerate(kept)
        ]
    return found


def siblings(one: Facet, held: Sequence[Facet]) -> int:
    """How many panels its dataset and network have."""
    return sum(other.group == one.group for other in held)


def hidden(held: Sequence[Facet], shown: Sequence[Facet]) -> str:
    """A remark for the caption where `shown`, the sizes of `held`, leaves some out."""
    if sum(len(one.removed) for one in held) == len(shown):
        return ""
    said = ""
    for share, what in ((False, "numbers of blocks"), (True, "shares of filters")):
        every = ranges(removed for one in held for removed in one.removed if share == (one.structure == SHARE))
        said += f" Of the {what} removed, {gone_name(SHARE * share, every)}, only some are drawn." if every else ""
    return said


def spread(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the values, evenly spread, the last and (if there is room) the first among them."""
    if len(values) <= most:
        return list(values)
    if most == 1:
        return [values[-1]]
    return [values[round(step * (len(values) - 1) / (most - 1))] for step in range(most)]
