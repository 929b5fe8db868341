"""What is about somebody's machines, and not about results: names of hosts, SLURM jobs, and where files lie.

Published files number hosts and jobs, and of absolute paths hold the last part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_stamped_table, table_writer

# what an absolute path begins with, on any system; an address of the web does not
ABSOLUTE = re.compile(r"(//?|file:/+|~[\w.-]*/|\\\\|[A-Za-z]:[\\/])[^\s/\\]", re.IGNORECASE)
# of several, which a resumed training names
NAME = re.compile(r"[^,;\s]+")
NUMBERED = {"host": "machine", "slurm_job_id": "job"}
# left out where nothing of the machines shall be told
MACHINE = (*NUMBERED, "device", "driver_version")


def absolute_paths(value: Any) -> Iterator[str]:
    """Every text within a JSON value that is an absolute path, or begins with one."""
    if isinstance(value, str):
        yield from [value] if ABSOLUTE.match(value) else []
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from absolute_paths(part)


@dataclass(frozen=True)
class Private:
    """What texts of one benchmark must not hold, and what stands in its place."""

    shorter: Mapping[str, str]

    @classmethod
    def of(cls, configuration: Any) -> Private:
        """Of the absolute paths that a configuration names."""
        return cls({path: re.split(r"[/\\]", path.rstrip("/\\"))[-1] for path in absolute_paths(configuration)})

    def text(self, text: str) -> str:
        """The text with the last part of each path in place of the path."""
        for path in sorted(self.shorter, key=len, reverse=True):
            text = text.replace(path, self.shorter[path])
        return text

    def value(self, value: Any) -> Any:
        """The same of every text within a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(part) for key, part in value.items()}
        return [self.value(part) for part in value] if isinstance(value, list) else value

    def write_runs(self, runs: Path, output: Path, *, machines: bool) -> None:
        """Copy the table `runs` with hosts and jobs numbered, or, without `machines`, with nothing about them."""
        held, stamp = read_stamped_table(runs)
        for at, field in enumerate(held.schema):
            if not machines and field.name in MACHINE:
                held = held.set_column(at, field, pa.nulls(len(held), field.type))
            elif pa.types.is_string(field.type):
                texts, word = held[field.name].to_pylist(), NUMBERED.get(field.name)
                shown = numbered(texts, word) if word else map(self.value, texts)
                held = held.set_column(at, field, pa.array(list(shown), field.type))
        with table_writer(output, held.schema, config_hash=stamp.config_hash, inputs=stamp.inputs) as writer:
            writer.write(held)


def numbered(texts: Iterable[str | None], word: str) -> Iterator[str | None]:
    """Names in order of appearance as WORD1, WORD2, …, also where a text holds several."""
    known: dict[str, str] = {}
    for text in texts:
        yield text and NAME.sub(lambda name: known.setdefault(name[0], f"{word}{len(known) + 1}"), text)


def refuse_paths(value: Any, where: str) -> None:
    """Raise LayerLotteryError for facts that name an absolute path and can't be rewritten: their hash would change."""
    if found := next(absolute_paths(value), None):
        raise LayerLotteryError(
            f"{where}: names the absolute path {found}; allowed: paths relative to the working directory, or publish"
            " without weights (--weights none)"
        )


def refuse_text(text: str, where: str, folders: Iterable[str]) -> None:
    """Raise LayerLotteryError for a text that names something in one of these folders."""
    for folder in folders:
        if re.search(rf"(?<![\w.-]){re.escape(folder.rstrip('/'))}/", text):
            raise LayerLotteryError(f"{where}: names {folder}, a folder of this machine; it must not be published")
