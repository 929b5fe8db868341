"""After a Snakemake was killed: its locks are void, and what it had not yet recorded is sorted out.

Snakemake marks the outputs of running jobs, and after a SIGKILL or a power cut it asks for --unlock and
--rerun-incomplete. Here the results folder's own lock says whether anyone is alive, every file is whole or absent, and
a training that had ended loses nothing: its files wait beside its checkpoint for the job that asks for them again.
Imports no torch: the Snakefile runs this.
"""

from __future__ import annotations

import binascii
import json
import shutil
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import acquire

STATE = Path(".snakemake")


def recover(results: str, state: Path = STATE) -> set[str]:
    """Make a plain `snakemake` go on in a results folder, unless another one works there.

    `state` is Snakemake's own folder. Other results folders' records in it are left alone. Returns the SLURM jobs that
    may still be at work although no one waits for them.
    """
    if not Path(results).is_dir():
        return set()
    try:
        lock = acquire(Path(results))
    except LayerLotteryError:
        return set()  # in use, or not ours to write: the run itself will say so
    if lock is None:
        return set()  # no locks here, so another Snakemake may be alive
    try:
        _void_locks(results, state / "locks")
        jobs = {said(path, "job") for path in Path(results, "checkpoints").rglob("*.lock")}
        for marker, output in marked(results, state / "incomplete"):
            job = said(marker, "external_jobid")
            jobs.add(job)
            _set_aside(results, output)
            if job is None:  # the others' marks stay until their jobs have ended: a dry run ends none
                marker.unlink()
        jobs.discard(None)
        if not jobs:
            tidy(results)
    finally:
        lock.release()
    return {job for job in jobs if job is not None}


def forget(results: str, state: Path = STATE) -> None:
    """Remove the marks that `recover` left, once their jobs have ended."""
    for marker, _ in marked(results, state / "incomplete"):
        marker.unlink()


def tidy(results: str) -> None:
    """Remove what trainings kept beside their checkpoints, where it is in its own place and no job is left."""
    checkpoints = Path(results, "checkpoints")
    for waiting in [path for path in checkpoints.rglob("finished") if path.is_dir()]:
        run = Path(results, waiting.parent.relative_to(checkpoints))
        if all(Path(file).is_file() for file in paths.trained(str(run))):
            shutil.rmtree(waiting, ignore_errors=True)


def said(path: Path, name: str) -> str | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get(name)
    except (OSError, ValueError, AttributeError):
        return None
    return None if value is None else str(value)


def _void_locks(results: str, folder: Path) -> None:
    for file in folder.glob("*.lock"):
        if any(_inside(results, line) for line in file.read_text(encoding="utf-8").splitlines()):
            file.unlink()


def marked(results: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """Markers of interrupted jobs, and the outputs that they stand for."""
    for marker in [path for path in folder.rglob("*") if path.is_file()]:
        # long names are split over folders, each of whose names begins with @
        encoded = "".join(part.removeprefix("@") for part in marker.relative_to(folder).parts)
        try:
            output = urlsafe_b64decode(encoded).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if _inside(results, output):
            yield marker, output


def _inside(results: str, path: str) -> bool:
    """Whether a path that stands in Snakemake's records is one of this results folder, links followed."""
    inside = path.startswith(f"{results}/") and ".." not in Path(path).parts
    return inside and Path(path).parent.resolve().is_relative_to(Path(results).resolve())


def _set_aside(results: str, output: str) -> None:
    path = Path(output)
    if str(path) not in paths.trained(str(path.parent)):
        path.unlink(missing_ok=True)
    elif path.exists():
        run = str(path.parent.relative_to(results))
        target = Path(paths.finished(paths.Folders(results).checkpoint(run)), path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        path.unlink(missing_ok=True)  # two names of one file: then replacing does nothing
