"""From Snakemake's records to what a person reads."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from layerlottery.cli.surroundings import print_anywhere
from layerlottery.config.naming import network_name
from layerlottery.config.stages import STAGE_OF_RULE
from layerlottery.runtime import interruption
from layerlottery.words import counted, duration
from snakemake_logger_plugin_layerlottery import dry
from snakemake_logger_plugin_layerlottery.capture import Capture
from snakemake_logger_plugin_layerlottery.displays import Lines, Moving, open_console, stream_of, wants_lines
from snakemake_logger_plugin_layerlottery.failures import Failure, exit_status, failure, first_of
from snakemake_logger_plugin_layerlottery.following import marked
from snakemake_logger_plugin_layerlottery.names import about
from snakemake_logger_plugin_layerlottery.printed import Printed
from snakemake_logger_plugin_layerlottery.run import Job, Run

# what Snakemake says without an event that this display says itself, or that only a developer reads
CHATTER = (
    *("Building DAG of jobs", "Using shell", "Select jobs to execute", "Execute ", "Finished ", "Conda environments:"),
    *("Assuming unrestricted shared", "Singularity containers:", "Group jobs: inactive", "Job rate limit reached"),
    *("Complete log", "Elapsed time:", "Terminating processes", "Shutting down,", "Exiting because a job"),
    *("This was a dry-run", "Reasons:", "Some jobs were triggered", "Rules with provenance", "The run involves"),
    *("Job ", "Submitted ", "Cleaning up SLURM log", "Using workflow specific", "None"),
)
RETRY = "Trying to restart job "
# the last of Snakemake's errors repeats the others
SUMMING_UP = "At least one job did not complete"
PAUSE = 0.5  # seconds between looks at what jobs print
SETTLED = 2.0  # seconds after which a job that failed is not tried again
BOXES = 3  # of failures; of more there is a line each


@dataclass
class Reporter:
    """One run: records in, lines out. `lock` is the handler's, which holds it while it reports."""

    style: str
    settings: Any
    lock: Any
    run: Run = field(default_factory=Run)
    remote: bool = False
    capture: Capture | None = None
    benchmark: Any = None
    cores: int = 1

    def __post_init__(self) -> None:
        print_anywhere()
        self.console = open_console(stream_of(stdout=self.settings.stdout), color=not self.settings.nocolor)
        self.display = Lines(self.console, self.run)
        self.quiet = {kind.name for kind in self.settings.quiet or ()}
        self._seen: set[str] = set()
        self._statuses: dict[str, int] = {}
        self._members: dict[str, int] = {}
        self._pending: list[tuple[float, Failure]] = []
        self._printed = Printed(lambda line: self.display.say(line))
        self._workflow: Any = None
        self._planned: list[Any] = []
        self._boxes = 0
        self._tables = 0
        self._whole = self._only_planned = False
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._reports: dict[str, Callable[[Any], None]] = {
            "run_info": self._counts,
            "job_info": self._started,
            "group_info": self._grouped,
            "job_finished": self._finished,
            "job_error": self._job_failed,
            "group_error": self._group_failed,
            "error": self._error,
            "resources_info": self._resources,
        }

    def report(self, record: logging.LogRecord) -> None:
        """Take in one record."""
        event = getattr(record, "event", None)
        if "ALL" in self.quiet and not self.settings.dryrun:
            return
        if event is None:
            self._message(record)
        elif known := self._reports.get(str(event)):
            known(record)

    def begin(self, workflow: Any, benchmark: Any) -> None:
        """The configuration is known."""
        self.benchmark, self.cores = benchmark, workflow.resource_settings.cores or 1
        self._workflow = workflow
        self._printed.log = next(map(Path, workflow.logger_manager.get_logfile()), None)
        self._only_planned = self.settings.dryrun and not self.quiet and dry.only_plan(workflow)
        runs = benchmark.runs()
        self.display.several = len({(run.dataset, run.network) for run in runs}) > 1

    def start(self) -> None:
        """The first job is about to begin: hold back what jobs print, and look at it now and then."""
        with self.lock:
            self.capture = Capture()
            self._ticker = threading.Thread(target=self._watch, daemon=True)
            self._ticker.start()

    def close(self) -> None:
        """Say what is still to be said, last how the run ended."""
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        with self.lock:
            self._recount()
            try:
                self._look(last=True)
                self.display.end()
            finally:
                # the terminal may be gone
                if self.capture is not None:
                    self.capture.restore()
            if (end := self._end()) and "ALL" not in self.quiet:
                self.display.say(end)
        self.console.file.flush()

    def _recount(self) -> None:
        """With --quiet progress Snakemake tells of no job that ended; its plan knows."""
        dag = getattr(self._workflow, "dag", None)
        if dag is not None and not self.settings.dryrun:
            names = (job.rule.name for job in dag.finished_jobs)
            self.run.ended = Counter(name for name in names if name in STAGE_OF_RULE)

    def _end(self) -> str:
        run, done = self.run, f"{self.run.done} of {self.run.total} jobs done"
        if self.settings.dryrun or not run.total:
            return "stopped; the same command goes on" if interruption.requested() else ""
        if interruption.requested():
            return f"stopped; {done}; the same command goes on"
        if run.done < run.total:
            if not run.failed:
                # before the first job a reason was given, or is about to be
                return f"not finished; {done}; the same command goes on" if run.any_started else ""
            return (
                f"{counted(run.failed, 'job', 'jobs')} failed; {done}; remove the cause, and the same command goes on"
            )
        report = f"; report: {self.benchmark.folders.report()}" if self.benchmark and self._whole else ""
        return f"{counted(run.total, 'job', 'jobs')} done in {duration(run.seconds)}{report}"

    # what Snakemake says

    def _counts(self, record: Any) -> None:
        rules = {name: int(count) for name, count in record.stats.items() if name in STAGE_OF_RULE}
        self._whole = "all" in record.stats
        if self.settings.dryrun:
            self._tables += 1
            if self._tables == 1:
                self.display.console.print(dry.table(rules))
                self.run.rules = rules
                if self._only_planned:
                    self._planned = dry.planned(self._workflow.dag)
            if self._tables > 1 or self._only_planned:
                self._forecast()
            return
        self.run.rules, self.run.began = rules, time.monotonic()
        moving = not wants_lines(self.style, self.console, remote=self.remote) and not self.quiet
        several, kind = self.display.several, Moving if moving else Lines
        self.display = kind(self.console, self.run)
        self.display.several, self.display.remote = several, self.remote
        self.display.quiet = bool(self.quiet & {"RULES", "PROGRESS"})
        if "PROGRESS" not in self.quiet:
            stages = ", ".join(stage.replace(" 0/", " ") for stage in self.run.stages())
            self.display.say(f"{counted(self.run.total, 'job', 'jobs')}: {stages}")
        self.display.start()

    def _forecast(self) -> None:
        for line in dry.forecast(self.benchmark, self._planned, cores=self.cores):
            self.display.say(line)

    def _started(self, record: Any) -> None:
        outputs = [str(output) for output in record.output]
        if self.settings.dryrun:
            self._planned.append((record.rule_name, outputs, str(record.reason)))
            return
        if record.rule_name not in STAGE_OF_RULE:
            return  # it only collects
        log = str(record.log[0]) if record.log else None
        parts = about(outputs, self.benchmark.results if self.benchmark else "")
        self.run.start(Job(record.jobid, record.rule_name, parts, log, record.shellcmd))

    def _grouped(self, record: Any) -> None:
        # a group is called by the name of one of its jobs
        self._members |= {str(job.uuid()): int(job.jobid) for job in record.jobs}

    def _finished(self, record: Any) -> None:
        job = self.run.finish(record.job_id)
        if job is None:
            return
        for warning in marked(job.log, "WARNING"):
            if warning not in self._seen:
                self._seen.add(warning)
                self.display.say(f"warning: {self._name(job)}: {warning}")
        self.display.finished(job)

    def _name(self, job: Job) -> str:
        network = network_name(job.about, several=self.display.several)
        return f"{job.stage} · {network}" if network else job.stage

    def _resources(self, record: Any) -> None:
        self.remote = self.remote or getattr(record, "nodes", None) is not None

    # failures

    def _job_failed(self, record: Any) -> None:
        # the members of a group were named with it
        if not record.indent or record.jobid in self.run.running:
            self._fail([record.jobid], record.log, said=first_of(str(record.rule_msg or "").splitlines()))

    def _group_failed(self, record: Any) -> None:
        jobs = record.job_error_info
        broken = [job for job in jobs if any(list(marked(log, "ERROR")) for log in job["log"])] or jobs
        logs = [log for job in broken for log in job["log"]] + list(record.aux_logs)
        self._fail([job["jobid"] for job in jobs], logs, said="", shown=[job["jobid"] for job in broken])

    def _fail(self, numbers: list[int], logs: Sequence[Any], *, said: str, shown: list[int] | None = None) -> None:
        jobs = [self.run.running.get(number) for number in shown or numbers]
        names = [self._name(job) for job in jobs if job is not None]
        status = next((self._statuses.pop(job.command, None) for job in jobs if job and job.command), None)
        for number in numbers:
            self.run.running.pop(number, None)
        if interruption.requested() or not names:
            return
        name = names[0] if len(names) == 1 else f"a group of {len(names)} jobs: {'; '.join(names)}"
        found = failure(name, [str(log) for log in logs], said=said, status=status)
        found = replace(found, numbers=tuple(numbers), broken=0 if found.interrupted else len(names))
        self._pending.append((time.monotonic(), found))
        self.run.failed += found.broken

    def _error(self, record: Any) -> None:
        text = record.getMessage()
        if SUMMING_UP in text or interruption.requested():
            return
        for job in self.run.running.values():
            if job.command and job.command in text and (status := exit_status(text)) is not None:
                # the job's own error follows
                self._statuses[job.command] = status
                return
        self._once(text)

    def _retried(self, name: str) -> None:
        number = self._members.get(name, int(name) if name.isdecimal() else None)
        for entry in [entry for entry in self._pending if number in entry[1].numbers]:
            self._pending.remove(entry)
            found = entry[1]
            self._printed.told(found.reason)
            self.run.failed -= found.broken
            self.display.say(f"tried again: {found.name}: {found.reason}")

    def _settle(self, *, last: bool = False) -> None:
        now = time.monotonic()
        while self._pending and self._pending[0][0] <= now - (0 if last else SETTLED):
            found = self._pending.pop(0)[1]
            self._printed.told(found.reason)
            self._boxes += not found.interrupted
            if self._boxes > BOXES or found.interrupted:
                self.display.say(found.line)
            else:
                self.display.show(found.box())
        # a command prints its error before Snakemake tells of it, and then the failure has to settle
        self._printed.release(now - (0 if last else 2 * SETTLED), visible=not interruption.requested())

    # everything else

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(RETRY):
            self._retried(text.removeprefix(RETRY).rstrip("."))
            return
        matters = record.levelno >= logging.WARNING or "PROGRESS" not in self.quiet
        if matters and text.strip() and not text.lstrip().startswith(CHATTER):
            self._once(text)

    def _once(self, text: str) -> None:
        if text not in self._seen:
            self._seen.add(text)
            self.display.say(text)

    def _watch(self) -> None:
        while not self._over.wait(PAUSE):
            with self.lock:
                self._look()

    def _look(self, *, last: bool = False) -> None:
        """Show what was printed since the last look, and failures that are final."""
        for line in self.capture.lines(last=last) if self.capture else ():
            self._printed.take(line)
        if interruption.requested() and self.run.running and not last:
            self.display.stop()
        self._settle(last=last)
        if last:
            self._printed.end(self.capture.dropped if self.capture else 0)
