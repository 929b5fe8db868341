"""The conditions under which networks were tested, numbered in the order in which they appear."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS

Array: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.int64]


class Condition(NamedTuple):
    """What names a row of the table robustness among those of one network."""

    kind: str
    name: str
    level: float


class Conditions:
    """Numbers conditions; what is known of a list of them is worked out once, since most networks share theirs."""

    def __init__(self) -> None:
        self.keys: list[Condition] = []
        self._places: dict[Condition, int] = {}
        self._kinds: dict[bytes, dict[str, Places]] = {}

    def places(self, table: pa.Table) -> Places:
        """The number of the condition of every row."""
        columns = [table["kind"], table["name"], pc.cast(table["level"], pa.string())]
        words = pc.binary_join_element_wise(*columns, "\0").combine_chunks().dictionary_encode()
        codes = words.indices.to_numpy()
        # the first row of each condition names it
        firsts = table.select(list(Condition._fields)).take(np.unique(codes, return_index=True)[1]).to_pylist()
        known = [self._place(Condition(**one)) for one in firsts]
        numbers: Places = np.array(known, dtype=np.int64)[codes]
        return numbers

    def _place(self, condition: Condition) -> int:
        if condition not in self._places:
            self._places[condition] = len(self.keys)
            self.keys.append(condition)
        return self._places[condition]

    def of(self, places: Places) -> list[Condition]:
        """The conditions with these numbers."""
        return [self.keys[place] for place in places.tolist()]

    def of_kinds(self, places: Places) -> dict[str, Places]:
        """Where attacks, corruptions and shifted sets stand among the conditions of one network."""
        pattern = places.tobytes()
        if pattern not in self._kinds:
            self._kinds[pattern] = _of_kinds(self.of(places))
        return self._kinds[pattern]


def _of_kinds(conditions: list[Condition]) -> dict[str, Places]:
    """Epsilon 0 is no attack; extra corruptions count only where there is no other."""
    corruptions = [place for place, one in enumerate(conditions) if one.kind == "corruption"]
    main = [place for place in corruptions if conditions[place].name not in EXTRA_CORRUPTIONS]
    found = {
        "attack": [place for place, one in enumerate(conditions) if one.kind == "attack" and one.level > 0],
        "corruption": main or corruptions,
        "shift": [place for place, one in enumerate(conditions) if one.kind == "shift"],
    }
    return {kind: np.array(places, dtype=np.int64) for kind, places in found.items()}
