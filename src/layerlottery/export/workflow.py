"""The workflow's own files, as they go with published results."""

from __future__ import annotations

from pathlib import Path

from layerlottery.errors import LayerLotteryError

_PACKAGE = Path(__file__).parents[1]
# inside an installed package, and above one that runs from its repository
PLACES = (_PACKAGE / "repository", _PACKAGE.parents[1])
SNAKEFILE = "Snakefile"
PATTERNS = (SNAKEFILE, "workflow/Snakefile", "workflow/rules/*.smk", "workflow/report/*.rst", "envs/*")


def workflow_files() -> dict[str, Path]:
    """The Snakefile, its rules and environments: file by its name in an archive."""
    folder = next((place for place in PLACES if (place / SNAKEFILE).is_file()), None)
    if folder is None:
        raise LayerLotteryError(f"{PLACES[0] / SNAKEFILE}: not found; reinstall layerlottery")
    files = (path for pattern in PATTERNS for path in sorted(folder.glob(pattern)) if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in files}
