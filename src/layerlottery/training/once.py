"""The same training is done once: what it made for one network is copied for others that come to be the same.

Two criteria that remove the same blocks leave the same network, and a fingerprint (session.py) says so: the same
initial weights, data, recipe, seed and first epoch. Its results are then read where they are, checked, and written
again, so that each folder is whole by itself and damage to one does not reach the other.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_table
from layerlottery.store.seals import BrokenSeal
from layerlottery.store.stamps import read_stamp
from layerlottery.training.alone import holding
from layerlottery.training.checkpoint import Progress
from layerlottery.training.ended import ended
from layerlottery.training.session import Session

log = logging.getLogger(__name__)

TRAINED = re.compile(paths.expression(paths.RUN))
# of a copy's facts: the folder, below the results folder, of the network that was trained
COPIED_FROM = "copied_from"


@contextmanager
def once(output: Path, session: Session, checkpoint: Path | None) -> Iterator[dict[str, Any] | None]:
    """Yield the facts of the same training in another folder of these results, with its end as the session's progress.

    None where there is none: it is then this process's to do, and others that need it wait until the block ends.
    Outside of a results folder, or without a checkpoint, nothing is looked for. Raises Suspended when told to stop
    while it waits.
    """
    found = paths.located(output)
    if checkpoint is None or found is None or not TRAINED.fullmatch(found[1]):
        yield None
        return
    results, place = Path(found[0]), found[1]
    lock = paths.same_training_lock(paths.Folders(str(results)).checkpoint(_dense(place)), session.fingerprint)
    # after the checkpoint's own lock, and the last that is taken: nobody waits in a circle
    with holding(Path(lock), session.trainer.stop):
        yield next(_copies(results, place, session), None)


def _dense(place: str) -> str:
    return paths.DENSE.format(**paths.wildcards(place))


def _copies(results: Path, place: str, session: Session) -> Iterator[dict[str, Any]]:
    for other in _same(results, place, session.fingerprint):
        facts = _taken(results / other, session)
        if facts is not None:
            log.info("the same training as %s, whose results are copied", other)
            yield facts | {COPIED_FROM: other}


def _same(results: Path, place: str, fingerprint: str) -> Iterator[str]:
    """Places of other networks of this data set, name and seed that bear the same fingerprint."""
    for folder, below, files in os.walk(results / paths.NETWORK.format(**paths.wildcards(place))):
        below.sort()
        other = Path(folder).relative_to(results).as_posix()
        name = Path(paths.training_facts(folder))
        if other != place and name.name in files and TRAINED.fullmatch(other):
            try:
                if read_stamp(name).config_hash == fingerprint:
                    yield other
            except (BrokenSeal, OSError):
                continue


def _taken(folder: Path, session: Session) -> dict[str, Any] | None:
    """Bring a session to the end of the training in a folder; its facts, None unless it is whole and was trained there.

    A copy is no source: to train its original again is to ask for a new training.
    """
    facts = ended(folder, session.fingerprint)
    if facts is None or COPIED_FROM in facts:
        return None
    try:
        model, _ = load_network(Path(paths.trained_weights(str(folder))))
        rows = read_table(Path(paths.curve(str(folder)))).to_pylist()
    except LayerLotteryError:  # gone in this moment
        return None
    session.load_result(model)
    session.progress = Progress(epoch=rows[-1]["epoch"], curve=rows)
    return facts
