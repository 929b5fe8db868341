"""Other programs: git and SLURM's own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def output_of(
    *command: str, seconds: float, folder: Path | None = None, environment: Mapping[str, str] = os.environ
) -> str:
    """What a program prints, started without a shell.

    It is looked for, as it looks for others, in PATH's absolute folders alone: the current one may be anybody's. Raises
    OSError when it is not there, subprocess's errors when it fails or takes longer.
    """
    path = os.pathsep.join(filter(os.path.isabs, environment.get("PATH", os.defpath).split(os.pathsep)))
    program = shutil.which(command[0], path=path) if path else None
    if program is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    ran = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env={**environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
    )
    return ran.stdout
