"""A bar on stderr for what takes long, where someone looks: in a terminal or a notebook."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from layerlottery.criteria.batches import Batch, CheckedBatches

# seconds before it shows, and between two looks
PATIENCE, PULSE = 2.0, 0.5


class Watched:
    """Batches that move a bar on as they are read, once or more often."""

    def __init__(self, batches: CheckedBatches, bar: Any) -> None:
        self.batches, self.bar = batches, bar

    def __iter__(self) -> Iterator[Batch]:
        self.bar.reset(total=len(self.batches) or None)
        for batch in self.batches:
            yield batch
            self.bar.update()


@contextmanager
def watched(batches: Any, what: str, *, wanted: bool) -> Iterator[Any]:
    """The batches, and while they are looked at a bar that says how many were, and for how long it has gone on."""
    if not wanted or not _seen():
        yield batches
        return
    many = isinstance(batches, CheckedBatches)
    form = None if many else "{desc}: {elapsed}"
    bar = _tqdm()(desc=what, unit=" batches", delay=PATIENCE, leave=False, miniters=0, bar_format=form, file=sys.stderr)
    stop = Event()
    pulse = Thread(target=_beat, args=(bar, stop), daemon=True)
    pulse.start()
    try:
        yield Watched(batches, bar) if many else batches
    finally:
        stop.set()
        pulse.join()
        bar.close()


def _seen() -> bool:
    """Whether stderr is a terminal, or this is a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or "IPKernelApp" in getattr(shell, "config", {})


def _beat(bar: Any, stop: Event) -> None:
    """Let the time go on between two batches."""
    while not stop.wait(PULSE):
        bar.update(0)


def _tqdm() -> Any:
    with warnings.catch_warnings():
        # in a notebook without widgets it falls back to text, and says so
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
