"""How networks were trained, in words: recipes where there are several, and what tickets start from."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from layerlottery.config.studies import FRESH
from layerlottery.report.submission import settings_of
from layerlottery.report.tables import dense, is_tuned
from layerlottery.words import counted

OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}
STARTS = {
    "plain": "trained like the dense one",
    "rewound": "trained for the epochs that remain, from the dense network's weights after some epochs",
    "fresh": "trained from fresh weights",
    "tuned": "fine-tuned from trained weights by a recipe of its own",
}
STRUCTURES = {
    "layers": "some of its residual blocks",
    "filters": "some of its filters",
    "weights": "some of its weights",
}


def recipe_facts(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Of each recipe its name, and optimizer, schedule, epochs and networks; nothing where all share one."""
    tuned = runs["rewind"].map(is_tuned).astype(bool)
    rows = runs.assign(level=runs["rewind"].where(tuned, runs["recipe"]))
    # other tickets have the dense network's recipe, or a part of it
    rows = pd.concat([dense(rows), rows[tuned]])
    levels = dict.fromkeys(rows["level"])
    if len(levels) < 2:
        return []
    names = {level: _name(level) for level in levels}
    shared = Counter(names.values())
    return [
        (
            name if shared[name] == 1 else f"{name} {level.rpartition('-')[2]}",
            _described(rows[rows["level"] == level]),
        )
        for level, name in names.items()
    ]


def _name(level: str) -> str:
    return "recipe of fine-tuning" if is_tuned(level) else f"recipe {level.rpartition('-')[0]}"


def _described(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    known: dict[str, Any] = {"epochs": first["epochs"], **settings_of(first["training_settings"] or "{}")}
    words = [counted(int(known["epochs"]), "epoch", "epochs")]
    if "learning_rate" in known:
        # records leave out this key where it is the default
        optimizer = str(known.get("optimizer", "sgd"))
        words = [OPTIMIZERS.get(optimizer, optimizer), f"schedule {known.get('schedule')}", *words]
        words += [f"learning rate {known['learning_rate']}"]
    return f"{', '.join(words)} ({', '.join(dict.fromkeys(rows['network']))})"


def ticket_words(rows: pd.DataFrame) -> str:
    """What a ticket among these rows of the summary is: what it lacks, and how it was trained."""
    lacking = [words for name, words in STRUCTURES.items() if rows["structure"].str.startswith(name).any()]
    starts = {_start(rewind) for rewind in rows["rewind"]}
    trained = [words for name, words in STARTS.items() if name in starts]
    once, again = (rows["step"] == 0).any(), (rows["step"] > 0).any()
    rounds = f", in {'one step or in ' if once else ''}rounds" if again else ""
    lacking, trained = lacking or [STRUCTURES["layers"]], trained or [STARTS["plain"]]
    return f"A ticket is the network without {' or '.join(lacking)}, {' or '.join(trained)}{rounds}."


def _start(rewind: str) -> str:
    if is_tuned(rewind):
        return "tuned"
    return "fresh" if rewind == FRESH else "plain" if rewind == "0" else "rewound"
