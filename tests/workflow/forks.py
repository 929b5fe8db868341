"""Commands of Snakemake and of this package as forks of one process that has both imported, with one warm worker.

A command computes what it does in a process of its own, and saves seconds of imports. What is about processes -
signals, terminals, another PYTHONPATH - starts its own. As a script it is the process: a request is a line of JSON.
"""

import atexit
import ctypes
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.unit.cli.handing_over import Owner

from layerlottery.runtime.lease import GPU_DRIVER
from layerlottery.runtime.protocol import ADDRESS

ROOT = Path(__file__).parents[2]


@functools.cache
def forks():
    """The process of this test process, started when it is first asked for; it ends with its standard input."""
    return Forks()


class Forks:
    """The process that forks, and the worker that runs the jobs of its Snakemakes."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="forks-")
        command = [sys.executable, "-P", __file__, self.scratch.name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        atexit.register(self.end)

    def end(self):
        self.process.stdin.close()
        self.process.wait(60)

    def run(self, command, folder, environment, *, timeout):
        """As subprocess.run with captured output."""
        out, err = (Path(self.scratch.name, name) for name in ("out", "err"))
        request = {"argv": command, "folder": str(folder), "environment": environment, "streams": [str(out), str(err)]}
        print(json.dumps(request), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            self.process.kill()
            raise subprocess.TimeoutExpired(command, timeout)
        status = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(command, status, out.read_text(), err.read_text())


def serve(scratch):
    """Fork for each request, one at a time, until there are no more."""
    import snakemake.cli
    import snakemake.executors
    import snakemake.report
    import snakemake.workflow

    import layerlottery.cli.launcher
    import layerlottery.cli.main
    import layerlottery.config.loading
    import layerlottery.runtime.begin  # noqa: F401

    # loads every plugin
    snakemake.cli.get_argument_parser()
    worker = None if GPU_DRIVER.exists() else Owner(scratch)
    parent = os.getpid()
    for line in sys.stdin:
        if not (child := os.fork()):
            become(json.loads(line), parent, worker and str(worker.address))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    if worker is not None:
        worker.end()


def become(request, parent, worker):
    """Be the command, and end with its status."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.chdir(request["folder"])
    for number, name in enumerate([os.devnull, *request["streams"]]):
        stream = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    program, *words = request["argv"]
    if program == "snakemake":
        import snakemake.cli

        from layerlottery.runtime import warm

        if worker:
            # in place of one of its own
            warm.start = lambda: os.environ.update({ADDRESS: worker})
        # of `python -m`
        sys.path.insert(0, request["folder"])
        sys.argv[:] = [str(Path(snakemake.__file__).with_name("__main__.py")), *words]
        snakemake.cli.main()
    else:
        from layerlottery.cli.launcher import main

        if worker:
            os.environ[ADDRESS] = worker
        sys.argv[:] = [str(Path(sys.executable).with_name(program)), *words]
        main()
    sys.exit()


if __name__ == "__main__":
    serve(sys.argv[1])
