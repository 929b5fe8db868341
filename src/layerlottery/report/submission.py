"""A results folder as others are set beside it: its tables, its manifest, and the recipe that its networks share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.report.tables import Tables, dense, read_tables, within
from layerlottery.store.artifacts import read_facts
from layerlottery.store.hashing import digest
from layerlottery.store.seals import file_digest
from layerlottery.tables.statistics import SINGLE

Group = tuple[str, str]
# where a data set lies, how it got there, and what is tested beside its clean test images
NOT_RECIPE = ("location", "download", "official", "shifted", "strict")
# of these only rounding and speed depend, and `precision` is known as what was computed in
MACHINE = ("precision", "compile", "channels_last")
REVISIONS = ("prepare", "initialize", "train")
NOT_SET = "not set"
# digits of a recipe's hash that are shown
SHOWN = 8
# in place of a verdict
NOTHING_LEARNED, ONE_SEED = "nothing learned", "no verdict (one seed)"


@dataclass(frozen=True)
class Submission:
    """A finished benchmark; `name` is what tells its folder from the others."""

    name: str
    folder: Path
    tables: Tables
    manifest: Mapping[str, Any]

    @cached_property
    def configuration(self) -> Mapping[str, Any]:
        """As the manifest has it, without values that are the defaults; {} where it has none."""
        return _object(self.manifest.get("configuration"))

    def at(self, xi: str) -> pd.DataFrame:
        """Rows of the summary at one tolerance; raises LayerLotteryError when it was not computed.

        `said` is the verdict after correction, or why there is none; it is null where the tolerance is unknown.
        """
        summary = self.tables.summary
        rows = summary[summary["xi"] == xi]
        if rows.empty and not summary.empty:
            known = ", ".join(dict.fromkeys(summary["xi"]))
            path = paths.table(f"{self.folder}/tables", "summary")
            raise LayerLotteryError(f"{path}: found the tolerances ξ = {known}; ξ = {xi} is none of them; see --xi")
        said = rows["verdict_holm"].replace(SINGLE, ONE_SEED)
        return rows.assign(said=said.mask(rows["learned"].eq(False), NOTHING_LEARNED))


def read_submissions(folders: Sequence[Path]) -> list[Submission]:
    """Read results folders; raises LayerLotteryError for one that is not finished, broken or given twice."""
    names = _names(folders)
    found = [read_submission(folder, name) for folder, name in zip(folders, names, strict=True)]
    first: dict[str, Submission] = {}
    for one in found:
        other = first.setdefault(digest(one.manifest), one)
        if other is not one:
            raise LayerLotteryError(f"{one.folder}: a copy of {other.folder}; allowed: each results folder once")
    return found


def read_submission(folder: Path, name: str) -> Submission:
    """Read one; raises LayerLotteryError when its tables are not those that its manifest was written for."""
    tables, manifest = folder / "tables", folder / "manifest.json"
    if not (tables / "runs.parquet").exists():
        raise LayerLotteryError(f"{tables}: no runs.parquet in it; allowed: a results folder, which holds tables/")
    if not manifest.exists():
        raise LayerLotteryError(f"{manifest}: missing, so this benchmark has not ended: snakemake --cores all")
    held, facts = read_tables(tables), read_facts(manifest)
    facts.pop("config_hash")
    hashes = _object(facts.get("tables"))
    for path in (tables / f"{one}.parquet" for one in paths.TABLES):
        if file_digest(path) != hashes.get(path.name):
            raise LayerLotteryError(f"{path}: not the table that {manifest} was written for: snakemake --cores all")
    return Submission(name, folder, held, facts)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the folders' paths, as few as tell them apart; raises LayerLotteryError for one given twice."""
    places = [folder.resolve() for folder in folders]
    for place in places:
        if places.count(place) > 1:
            raise LayerLotteryError(f"{place}: found twice among the results folders; allowed: each once")
    most = max(len(place.parts) for place in places)
    for count in range(1, most + 1):
        names = ["/".join(place.parts[-count:]).replace("//", "/") for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def recipe(one: Submission, group: Group) -> dict[str, Any]:
    """What the networks of a data set and architecture must share to be comparable, by key; docs/leaderboard.md."""
    dataset, network = group
    rows = dense(within(one.tables.runs, group))
    trained = [settings_of(text) for text in rows["training_settings"].dropna().unique()]
    settings = {key: value for own in trained for key, value in own.items() if key not in MACHINE}
    data = _object(_object(one.configuration.get("datasets")).get(dataset))
    named = _object(_object(one.configuration.get("networks")).get(network))
    revisions = _object(one.manifest.get("revisions"))
    return {
        **flat("training", settings),
        "computed in": " and ".join(sorted(rows["precision"].dropna().unique())),
        **flat("data", {key: value for key, value in data.items() if key not in NOT_RECIPE}),
        "data.images": " and ".join(map(str, sorted(rows["train_images"].dropna().unique()))),
        **(flat("network", named) if named else {}),
        **flat("revision", {name: revisions.get(name) for name in REVISIONS}),
    }


def recipe_hash(held: Mapping[str, Any]) -> str:
    """The hash by which two recipes are told apart."""
    return digest(held)


def settings_of(text: str) -> dict[str, Any]:
    """A training's recorded settings; what is no JSON stands as text under `settings`."""
    try:
        return _object(json.loads(text))
    except (ValueError, RecursionError):
        return {"settings": text}


def flat(prefix: str, value: Any) -> dict[str, Any]:
    """Nested settings by dotted keys."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {key: held for name, part in value.items() for key, held in flat(f"{prefix}.{name}", part).items()}


def differing(held: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, dict[str, str]]]:
    """Of each key that does not hold one value throughout, the values as text."""
    keys = dict.fromkeys(key for one in held.values() for key in one)
    found = [(key, {name: _shown(one.get(key, NOT_SET)) for name, one in held.items()}) for key in keys]
    return [(key, values) for key, values in found if len(set(values.values())) > 1]


def changes(key: str, one: Any, other: Any) -> Iterator[tuple[str, str, str]]:
    """Where two nested settings differ: dotted key and both values as text; studies go by their names."""
    one, other = _named(one), _named(other)
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys([*one, *other]):
            yield from changes(f"{key}.{name}" if key else str(name), one.get(name, NOT_SET), other.get(name, NOT_SET))
    elif one != other:
        yield key, _shown(one), _shown(other)


def _named(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(one, dict) and "name" in one for one in value):
        return value
    return {str(one["name"]): {key: held for key, held in one.items() if key != "name"} for one in value}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
