"""The workflow's own files, as they go with published results."""

from __future__ import annotations

from pathlib import Path

from layerlottery.errors import LayerLotteryError
from layerlottery.workflow_files import FOLDER

SNAKEFILE = "Snakefile"
PATTERNS = (SNAKEFILE, "workflow/Snakefile", "workflow/rules/*.smk", "workflow/report/*.rst", "envs/*")


def workflow_files() -> dict[str, Path]:
    """The Snakefile, its rules and environments: file by its name in an archive."""
    if not (FOLDER / SNAKEFILE).is_file():
        raise LayerLotteryError(f"{FOLDER / SNAKEFILE}: not found; reinstall layerlottery")
    files = (path for pattern in PATTERNS for path in sorted(FOLDER.glob(pattern)) if path.is_file())
    return {path.relative_to(FOLDER).as_posix(): path for path in files}
