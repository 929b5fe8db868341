"""The energy that a training has used, kept on disk while it runs, so that a killed one's is not lost.

Each process that works on a training is one segment. A checkpoint says how far the training got; the journal beside
it says what that took, also for a segment that died without a word: up to its last reading, which is at most two
seconds, or a twentieth of the segment, old.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.store.artifacts import read_facts, write_facts
from layerlottery.training.leftovers import of_this_training

log = logging.getLogger(__name__)

LEAST_SECONDS, MOST_SECONDS, SHARE = 2.0, 60.0, 0.05

Segment = dict[str, Any]


@dataclass
class Journal:
    """Earlier segments of the training that `fingerprint` identifies; without a path nothing is written."""

    path: Path | None
    fingerprint: str
    measure: Callable[[], Segment]
    segments: list[Segment] = field(default_factory=list)
    began: float = field(default_factory=lambda: time.monotonic())
    due: float = LEAST_SECONDS

    @classmethod
    def open(cls, checkpoint: Path | None, fingerprint: str, measure: Callable[[], Segment]) -> Journal:
        """Continue the journal beside the checkpoint; a missing, foreign or broken one starts empty."""
        if checkpoint is None:
            return cls(None, fingerprint, measure)
        path = Path(paths.training_journal(str(checkpoint)))
        held = of_this_training(path, fingerprint, _segments, otherwise="energy of earlier segments lost")
        return cls(path, fingerprint, measure, held[0] if held else [])

    def tick(self) -> None:
        """Write down what this segment has spent, if the last time is long enough ago."""
        elapsed = time.monotonic() - self.began
        if self.path is None or elapsed < self.due:
            return
        self._write([*self.segments, self.measure()])
        self.due = elapsed + min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * elapsed))

    def close(self, segment: Segment) -> None:
        """Write down this segment's end."""
        self.segments.append(segment)
        self._write(self.segments)

    def _write(self, segments: list[Segment]) -> None:
        if self.path is None:
            return
        try:
            write_facts(self.path, {"segments": segments}, config_hash=self.fingerprint)
        except OSError as error:  # no reason to lose a training
            log.info("energy not written down: %s", error)


def _segments(path: Path) -> tuple[list[Segment], dict[str, Any]]:
    facts = read_facts(path)
    return list(facts["segments"]), facts
