"""How far a benchmark is in its results folder: what is done, running, failed and left, stage by stage.

A file that is there counts as done; whether its settings have changed since, Snakemake alone knows (`plan` asks it).
Reads only, takes no lock, and may look on while a benchmark runs. Imports no torch.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.naming import network_name
from layerlottery.config.stages import BENCHMARK, STAGES, Stage
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.recovery import STATE, marked
from layerlottery.store import joblog, lock
from layerlottery.store.lock import options_of
from layerlottery.words import counted, one_line, terminal

DONE, RUNNING, FAILED, LEFT = STATES = ("done", "running", "failed", "left")
LISTED = 8  # jobs that are named of each state
WIDTH = 80
ENDED = "failed or killed, its log does not say why"
CORES = re.compile(r" (?:--cores|-c|--jobs|-j)[ =]?(\d+)\b")


@dataclass(frozen=True)
class StageJob:
    """One job of a stage: the folder that it is about, its files and log, its state, and what its log says of that.

    `rule` is Snakemake's name of it; of a training that runs, the log says the epoch.
    """

    stage: str
    rule: str
    folder: str
    files: tuple[str, ...]
    log: Path
    state: str
    said: str = ""

    @property
    def name(self) -> str:
        """The job in words: train · snip, 2 removed, seed 1, resnet20 on digits."""
        about = network_name(paths.wildcards(self.folder))
        return f"{self.stage} · {about}" if about else self.stage


@dataclass(frozen=True)
class Status:
    """The jobs of a benchmark in a results folder.

    `since` is when the Snakemake began that runs there, if one does, and `cores` what the last one there was given.
    """

    results: Path
    jobs: Sequence[StageJob]
    running: bool
    since: str | None
    cores: int | None

    def counts(self) -> dict[str, Counter[str]]:
        """By stage the number of jobs in each state."""
        found: dict[str, Counter[str]] = {}
        for job in self.jobs:
            found.setdefault(job.stage, Counter())[job.state] += 1
        return found

    def of(self, state: str) -> list[StageJob]:
        """The jobs in one state."""
        return [job for job in self.jobs if job.state == state]

    @property
    def finished(self) -> bool:
        """Whether every file is there."""
        return len(self.of(DONE)) == len(self.jobs)


def status(results: Path, benchmark: Benchmark) -> Status:
    """The state of every job of a benchmark, in a folder that may be another than the benchmark's own.

    Raises LayerLotteryError when there is no such folder.
    """
    require_folder(results)
    running = lock.held(results)
    since = _since(results) if running else None
    begun, known = _recorded(results, benchmark, "incomplete"), cache(lambda: _recorded(results, benchmark, "metadata"))
    places, found = benchmark.places(), list[StageJob]()
    for stage in STAGES.values():
        for pattern in stage.makes:
            for folder in places[pattern]:
                files = tuple(str(Path(file)) for file in stage.files(pattern, folder))
                log = results / stage.extras(folder)[0]
                kept = {Path(benchmark.results, file) for file in files}
                unended = not begun.isdisjoint(kept)
                state, said = _state([results / file for file in files], log, running and unended, since)
                if (unended and not running) or (state == LEFT and _recent(log, since) and _silent(log, kept, known)):
                    # files of a job that was killed are made again
                    there = all((results / file).exists() for file in files)
                    state, said = (FAILED, said) if state == FAILED else (LEFT, "" if there else _unfinished(log))
                if pattern == BENCHMARK and state == DONE and any(job.state != DONE for job in found):
                    state = LEFT  # it is of all the others, and made again after them
                found.append(StageJob(stage.name, _rule(stage, pattern, folder), folder, files, log, state, said))
    return Status(results, found, running, _time(since), _cores(results))


def _recorded(results: Path, benchmark: Benchmark, kind: str) -> set[Path]:
    """Files that Snakemake has a record of: in incomplete while a job makes them, in metadata once it has."""
    if Path(benchmark.results).resolve() != results.resolve():
        return set()
    return {Path(path) for _, path in marked(benchmark.results, STATE / kind)}


def _silent(log: Path, files: set[Path], made: Callable[[], set[Path]]) -> bool:
    """Whether a job began and nothing says that it ended, well or not, in a folder where that would be known."""
    return joblog.last_line(log) is not None and bool(made()) and made().isdisjoint(files)


def _unfinished(log: Path) -> str:
    """What is said of a job without an end; "" of one that was asked to stop, or had nothing to say yet."""
    return "" if joblog.failure(log) or joblog.last_line(log) is None else ENDED


def _time(since: datetime | None) -> str | None:
    return since.astimezone().strftime("%Y-%m-%d %H:%M") if since else None


def _cores(results: Path) -> int | None:
    found = CORES.search(lock.holder(results / lock.NAME))
    return int(found[1]) if found else None


def _rule(stage: Stage, pattern: str, folder: str) -> str:
    """The rule that makes a stage's files in a folder: some stages have others for tickets, weights or later rounds."""
    rules = stage.rules or (stage.name,)
    if "/round=" in folder and rules[-1].endswith("_round"):
        return rules[-1]
    second = pattern in (paths.TICKET, paths.FRESH_START) or "/structure=weights/" in folder
    return [rule for rule in rules if not rule.endswith("_round")][-1 if second else 0]


def require_folder(results: Path) -> None:
    """Raise LayerLotteryError unless there is such a folder."""
    if not results.is_dir():
        raise LayerLotteryError(f"{results}: no such folder; --results names that of a benchmark")


def _state(files: Sequence[Path], log: Path, works: bool, since: datetime | None) -> tuple[str, str]:
    """A job's state and what its log says of it; a failure of an earlier run waits for its next try in this one."""
    if works:
        return RUNNING, _progress(joblog.last_line(log) or "")
    if all(file.exists() for file in files):
        return DONE, ""
    reason = joblog.failure(log)
    if reason is None or reason.startswith("interrupted"):
        return LEFT, ""
    return (FAILED, reason) if _recent(log, since) else (LEFT, "")


def _recent(log: Path, since: datetime | None) -> bool:
    """Whether a log is of the Snakemake that runs since then, or of any where none runs."""
    try:
        return since is None or datetime.fromtimestamp(log.stat().st_mtime).astimezone() >= since
    except OSError:
        return False


def _progress(said: str) -> str:
    """Of what a training logs after an epoch its number and the test accuracy."""
    parts = re.split(" {2,}", said)
    return ", ".join(parts[:1] + [part for part in parts if part.startswith("test ")])


def _since(results: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads((results / lock.NAME).read_text(encoding="utf-8"))["start"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def table(found: Status) -> Iterator[str]:
    """The number of jobs in each state, stage by stage."""
    yield f"{'stage':<12}" + "".join(f"{state:>9}" for state in STATES)
    counts = found.counts()
    for stage, row in (counts | {"all": sum(counts.values(), Counter())}).items():
        yield f"{stage:<12}" + "".join(f"{row[state]:>9}" for state in STATES)


def named_jobs(found: Status) -> Iterator[str]:
    """The jobs that run, in 80 columns, those that failed with reason and log, and those that ended without a word."""
    for job in found.of(RUNNING)[:LISTED]:
        yield _cut(f"  {job.name}{f': {job.said}' if job.said else ''}")
    for job in found.of(FAILED)[:LISTED]:
        yield f"\nfailed: {job.name}\n  {one_line(job.said)}\n  {one_line(job.log)}"
    if (more := len(found.of(FAILED)) - LISTED) > 0:
        yield f"and {more} more that failed"
    silent = [job for job in found.of(LEFT) if job.said]
    for job in silent[:LISTED]:
        yield f"\n{job.said}: {job.name}\n  {one_line(job.log)}"
    if (more := len(silent) - LISTED) > 0:
        yield f"and {more} more {ENDED}"


def sentence(found: Status) -> str:
    """How far the benchmark is, in one sentence."""
    done, total = len(found.of(DONE)), len(found.jobs)
    if found.running:
        since = f" since {found.since}" if found.since else ""
        return f"{found.results}: running{since}; {done} of {counted(total, 'job is', 'jobs are')} done"
    if found.finished:
        return f"{found.results}: finished, all {total} jobs are done"
    failed = f", {len(found.of(FAILED))} failed" if found.of(FAILED) else ""
    return f"{found.results}: stopped; {done} of {counted(total, 'job is', 'jobs are')} done{failed}"


def whole_seeds(found: Status) -> Iterator[str]:
    """Which of several seeds are complete, so that they can be looked at while others go on; nothing of a lone one."""
    left: dict[str, bool] = {}
    for job in found.jobs:
        if seed := paths.wildcards(job.folder).get("seed"):
            left[seed] = left.get(seed, False) or job.state != DONE
    whole = [seed for seed, waits in left.items() if not waits]
    if len(left) > 1:
        names = f" ({', '.join(whole)})" if whole else ""
        yield f"complete seeds: {len(whole)} of {len(left)}{names}"


def lost(found: Status) -> bool:
    """Whether files are gone of jobs that had ended before the report was made, as far as logs tell.

    Snakemake does not miss them: it asks for the report, which is there.
    """
    reported = _changed(found.results / "report" / "index.html")
    return reported is not None and any(_ended(job, found.results, reported) for job in found.of(LEFT))


def _ended(job: StageJob, results: Path, by: float) -> bool:
    """Whether the files of a job are gone that had left its log by this time, and without an error."""
    changed = _changed(job.log)
    gone = not all((results / file).exists() for file in job.files)
    return gone and changed is not None and changed <= by and joblog.failure(job.log) is None


def _changed(path: Path) -> float | None:
    """When a file was last written; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def command(results: Path, given: Sequence[str] = ()) -> str:
    """The command that goes on with a benchmark: with the options `given`, else those of its last Snakemake there."""
    return shlex.join(["snakemake", "--cores", "all", *(given or options_of(results))])


def _cut(line: str) -> str:
    line = terminal(line)
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"
