"""The folder of a network, found by words that people say of it: snip removed=2 seed=0 fresh.

Imports no torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.config.recipes import TRAINED
from layerlottery.config.studies import FRESH, Run
from layerlottery.errors import LayerLotteryError
from layerlottery.words import ranges

WHOLE = ("dataset", "network", "seed", "recipe")
KEYS = (*WHOLE, "structure", "criterion", "draw", "scored_at", "removed", "rewind", "step")
NUMBERS = {"seed", "draw", "removed", "step", "round"}
# of these the value alone is enough
BARE = ("dataset", "network", "structure", "criterion", "scored_at")
# what has a name of its own: the word, and the part of the network that it stands for
DENSE, FRESH_WEIGHTS, FINE_TUNED = "dense", "fresh", "fine-tuned"
PLAIN = {"structure": ("layers", "none"), "draw": (0,), "scored_at": ("init", None), "rewind": ("0",), "step": (0,)}
NETWORKS = DENSE_ONE, TICKET = [re.compile(paths.expression(pattern)) for pattern in (paths.DENSE, paths.TICKET)]
NAMED = 8  # values of one part that a message names


def run_of(folder: str) -> Run | None:
    """The network whose folder this is, relative to its results folder."""
    for pattern in NETWORKS:
        if pattern.fullmatch(folder):
            values: dict[str, Any] = paths.wildcards(folder)
            if pattern is TICKET:
                values = {"round": 1, "step": 0} | values
            return Run(**values | {name: int(values[name]) for name in values.keys() & NUMBERS})
    return None


def stored_runs(results: Path) -> list[Run]:
    """Every network that has a folder in a results folder."""
    folders = (Path(folder).relative_to(results).as_posix() for folder, _, _ in os.walk(results / "networks"))
    return sorted(filter(None, map(run_of, sorted(folders))), key=lambda run: (run.removed, run.seed))


def fits(run: Run, word: str) -> bool:
    """Whether a word says something true of a network: dense, fresh, fine-tuned, a name, or key=value."""
    key, equals, value = word.partition("=")
    if equals:
        return key in KEYS and value in _values(run, key)
    return (
        word in ((DENSE,) if not run.removed else ())
        or any(word in _values(run, key) for key in BARE)
        or (word == FRESH_WEIGHTS and run.rewind == FRESH)
        or (word == FINE_TUNED and run.is_tuned)
    )


def _values(run: Run, key: str) -> tuple[str, ...]:
    value = getattr(run, key)
    if key == "rewind" and value == FRESH:
        return FRESH, FRESH_WEIGHTS
    if key == "rewind" and run.is_tuned:
        return run.rewind, TRAINED
    if key == "step" and run.round == 1:
        # removed at once, or in the first of several rounds: one folder
        return str(run.step), str(run.removed)
    return () if value is None else (str(value),)


def find_run(results: Path, words: Sequence[str]) -> tuple[Run, str]:
    """The network that the words describe, and what tells it apart from others that they fit, "" for none.

    Of several the plainest is taken: blocks, scored at θ0 and trained from there, which tables call by the criterion
    alone. Raises LayerLotteryError when none fits, or several are equally plain.
    """
    runs, said = stored_runs(results), " ".join(words)
    if not runs:
        raise LayerLotteryError(f"{results}: no trained networks here; --results names the folder of a benchmark")
    for word in words:
        if not any(fits(run, word) for run in runs):
            raise LayerLotteryError(f"{results}: no network is {word!r}; there are {'; '.join(parts(runs))}")
    found = [run for run in runs if all(fits(run, word) for word in words)]
    if not found:
        raise LayerLotteryError(f"{results}: no network is all of {said}; there are {'; '.join(parts(runs))}")
    least = min(map(_oddity, found))
    plainest = [run for run in found if _oddity(run) == least]
    if len(plainest) > 1:
        told = "; ".join(parts(plainest))
        raise LayerLotteryError(f"{results}: {len(plainest)} networks are {said}; say which: {told}")
    return plainest[0], "; ".join(parts(found)) if len(found) > 1 else ""


def _oddity(run: Run) -> int:
    return sum(getattr(run, key) not in plain for key, plain in PLAIN.items())


def parts(runs: Iterable[Run]) -> list[str]:
    """What tells networks apart, a text for each part in which they differ: criterion=snip, random."""
    held = list(runs)
    told = [DENSE] if {True, False} == {bool(run.removed) for run in held} else []
    for key, values in differing(held).items():
        more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
        several = ranges(map(int, values)) if key in NUMBERS else f"{', '.join(values[:NAMED])}{more}"
        told.append(f"{key}={several}")
    return told


def differing(runs: Iterable[Run]) -> dict[str, list[str]]:
    """By part the values that tickets have in it, and dense networks in those that they have, where they differ."""
    held = [(key, run) for run in runs for key in (KEYS if run.removed else WHOLE)]
    found = {key: list(dict.fromkeys(str(getattr(run, key)) for part, run in held if part == key)) for key in KEYS}
    return {key: values for key, values in found.items() if len(values) > 1}


def suggestions(results: Path, words: Sequence[str]) -> list[str]:
    """Words that would tell apart the networks that the others fit."""
    runs = [run for run in stored_runs(results) if all(fits(run, word) for word in words)]
    named = [key for key, values in differing(runs).items()]
    found = {f"{key}={getattr(run, key)}" for run in runs for key in named if key not in BARE}
    found |= {str(getattr(run, key)) for run in runs for key in named if key in BARE and run.removed}
    found |= {DENSE for run in runs if not run.removed} | {FRESH_WEIGHTS for run in runs if run.rewind == FRESH}
    found |= {FINE_TUNED for run in runs if run.is_tuned}
    # what is typed, or true of all of them, tells nothing
    return sorted(word for word in found if not all(fits(run, word) for run in runs))
