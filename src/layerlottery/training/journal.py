"""What a training has spent, kept on disk while it runs, so that a killed one's energy is not lost.

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

from layerlottery.errors import LayerLotteryError, what
from layerlottery.store.artifacts import read_facts, write_facts

log = logging.getLogger(__name__)

SUFFIX = ".segments.json"
LEAST_SECONDS, MOST_SECONDS, SHARE = 2.0, 60.0, 0.05

Segment = dict[str, Any]


def journal_file(checkpoint: Path) -> Path:
    """The journal beside a checkpoint."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".safetensors") + SUFFIX)


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
        """Continue the journal beside the checkpoint; a missing, foreign or broken one begins anew."""
        path = None if checkpoint is None else journal_file(checkpoint)
        return cls(path, fingerprint, measure, _earlier(path, fingerprint))

    def tick(self) -> None:
        """Write down what this segment has spent, if the last time is long enough ago."""
        elapsed = time.monotonic() - self.began
        if self.path is None or elapsed < self.due:
            return
        self._write(self.path, [*self.segments, self.measure()])
        self.due = elapsed + min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * elapsed))

    def close(self, segment: Segment) -> None:
        """Write down this segment's end."""
        self.segments.append(segment)
        if self.path is not None:
            self._write(self.path, self.segments)

    def remove(self) -> None:
        """After success: the training's own facts hold the segments."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self, path: Path, segments: list[Segment]) -> None:
        try:
            write_facts(path, {"segments": segments}, config_hash=self.fingerprint)
        except OSError as error:  # no reason to lose a training
            log.info("energy not written down: %s", error)


def _earlier(path: Path | None, fingerprint: str) -> list[Segment]:
    if path is None or not path.exists():
        return []
    try:
        facts = read_facts(path)
    except LayerLotteryError as error:
        log.info("energy of earlier segments lost: %s", what(error))
        return []
    if facts["config_hash"] != fingerprint:
        log.info("energy of earlier segments not used: %s belongs to another configuration", path)
        return []
    return list(facts["segments"])
