"""A SLURM of our own, what it says about its jobs, and a Snakemake that runs on it in the background."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from tests.workflow.project import ROOT

HERE = Path(__file__).parent
PROFILE = ROOT / "workflow" / "profiles" / "slurm" / "profile.yaml"
# for one small machine: few CPUs, a local disk, and a controller that may be asked often
SMALL = ("--cores", "1", "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "3")
# how long something may take before it counts as never; the machine may be busy
PATIENCE = 900


class Job(NamedTuple):
    """One run of a job: SLURM counts a requeued job once for each run. `rule` may be several rules in one group."""

    number: str
    state: str
    rule: str
    requested: str = ""
    allocated: str = ""


class Slurm:
    """Started by start.sh, which starts only what isn't running; ended by stop.sh."""

    def __init__(self, state):
        self.state = state

    def start(self):
        subprocess.run([HERE / "start.sh", self.state], check=True, timeout=180, stdout=subprocess.DEVNULL)

    def stop(self):
        subprocess.run([HERE / "stop.sh", self.state], check=True, timeout=180)

    def process(self, name):
        return psutil.Process(int((self.state / "pids" / f"{name}.pid").read_text()))

    def end_daemon(self, name):
        """End slurmctld or slurmd as an administrator does."""
        process = self.process(name)
        process.terminate()
        process.wait(60)

    def crash_node(self):
        """The power of the node goes: its daemon and all that runs in jobs, at once."""
        managers = [one for one in psutil.process_iter() if one.name() == "slurmstepd" and self.log_of(one)]
        doomed = [self.process("slurmd"), *managers]
        doomed += [child for one in managers for child in one.children(recursive=True)]
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(doomed)

    def log_of(self, process):
        """Whether a process writes to this SLURM's log, and not to another one's."""
        with contextlib.suppress(psutil.Error):
            return str(self.state / "log" / "slurmd.log") in [file.path for file in process.open_files()]
        return False

    def queue(self):
        """What squeue shows of jobs that wait or run, by rule."""
        lines = told("squeue", "--noheader", "--format=%i|%T|%k").splitlines()
        jobs = [Job(number, state, rule_of(comment)) for number, state, comment in (line.split("|") for line in lines)]
        return {job.rule: job for job in jobs}

    def runs(self):
        """Every run of every job since this SLURM exists, in the order of their start."""
        columns = "JobIDRaw,State,Comment,ReqTRES,AllocTRES"
        lines = told("sacct", "-XDPn", "--starttime=now-1hour", f"--format={columns}").splitlines()
        fields = [line.split("|") for line in lines]
        return [Job(number, state.split()[0], rule_of(comment), *rest) for number, state, comment, *rest in fields]

    def states(self, number):
        """How each run of one job has ended, or what it does now."""
        return [job.state for job in self.runs() if job.number == number]


class Workflow:
    """Snakemake on SLURM, in a folder that holds the workflow; what it prints goes to a file."""

    def __init__(self, root, *words):
        self.root = root
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "workflow/profiles/slurm", *SMALL, *words]
        scripts = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        self.printed = root / f"snakemake-{time.monotonic_ns()}.txt"
        with self.printed.open("w") as sink:
            self.process = subprocess.Popen(
                command, cwd=root, env=environment, stdout=sink, stderr=sink, start_new_session=True
            )

    def text(self):
        return self.printed.read_text()

    def epochs(self, log):
        """Epochs that the training which now writes this log has completed itself."""
        assert self.process.poll() is None, self.text()[-5000:]
        path = self.root / log
        return path.read_text().count(" epoch ") if path.exists() else 0

    def ended_well(self, patience=PATIENCE):
        status = self.process.wait(patience)
        assert status == 0, self.text()[-5000:]

    def kill(self):
        """As a power cut does: Snakemake and its children, but no job."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def rule_of(comment):
    return comment.removeprefix("rule_").partition("_wildcards_")[0]


def told(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def until(condition, patience=PATIENCE):
    """Wait for a condition, and return what it said at last."""
    limit = time.monotonic() + patience
    while True:
        try:
            said = condition()
        except subprocess.CalledProcessError:  # the controller is away
            said = None
        if said:
            return said
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.5)
