"""Folders that are made once for all processes of a test run and are left as they are."""

import fcntl
import json
import os
import shutil
from contextlib import contextmanager


@contextmanager
def shared(tmp_path_factory, name, make):
    """The folder that make(folder) fills. The first process to ask makes it while the others wait.

    Tests read it, and copy what they want to change: a file that differs in the end is an error.
    """
    base = tmp_path_factory.getbasetemp()
    # pytest-xdist gives every worker a folder of its own in that of the run
    base = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    base.mkdir(exist_ok=True)
    folder, stamps = base / name, base / f"{name}.json"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamps.exists():
            # what a failure left
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            stamps.write_text(json.dumps(_stamps(folder)))
    yield folder
    before, now = json.loads(stamps.read_text()), _stamps(folder)
    changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    assert changed == [], f"files of {folder}, which tests share, were changed"


def _stamps(folder):
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
