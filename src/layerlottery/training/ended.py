"""Trainings that have ended: what they made is taken over where it is, and kept where it might be lost.

Snakemake removes the outputs of a job that it counts as failed: also when the training had just ended and only the
rest of its job was hit by a time limit or a lost node. A second name beside the checkpoint saves them from that, for
the job that asks for them again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.errors import LayerLotteryError, Suspended
from layerlottery.runtime.requeue import in_job, overtime
from layerlottery.store.artifacts import read_facts, read_table, read_weights, share


def ended(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The facts of a training that ended in this folder, if all three files are whole and of this training."""
    weights, curve, facts = (Path(path) for path in paths.trained(str(folder)))
    try:
        found = read_facts(facts)
        made_by = {found.pop("config_hash"), read_weights(weights)[1]["config_hash"]}
        made_by.add(read_table(curve).schema.metadata[b"config_hash"].decode())
    except LayerLotteryError:
        return None
    return found if made_by == {fingerprint} else None


def taken_over(checkpoint: Path | None, output: Path, fingerprint: str) -> dict[str, Any] | None:
    """Give `output` what waits beside the checkpoint, if it is whole and of this training; returns its facts."""
    if checkpoint is None:
        return None
    waiting = Path(paths.finished(str(checkpoint)))
    done = ended(waiting, fingerprint)
    if done is not None:
        _share(waiting, output)
    return done


def leave(checkpoint: Path | None, output: Path, *, stop: bool) -> None:
    """A training's last act: its checkpoint goes, since its own facts hold the journal's segments.

    Told to `stop`, or with its job's time over, raises Suspended.
    """
    stop = stop or overtime()
    if checkpoint is not None:
        waiting = paths.finished(str(checkpoint))
        if stop or in_job():
            _share(output, Path(waiting))
        else:
            shutil.rmtree(waiting, ignore_errors=True)
        checkpoint.unlink(missing_ok=True)
        Path(paths.training_journal(str(checkpoint))).unlink(missing_ok=True)
    if stop:
        kept = "the same command takes them over" if checkpoint is not None else "no --checkpoint to keep them beside"
        raise Suspended(f"the results are written, {kept}")


def _share(source: Path, target: Path) -> None:
    for made, wanted in zip(paths.trained(str(source)), paths.trained(str(target)), strict=True):
        share(Path(made), Path(wanted))
