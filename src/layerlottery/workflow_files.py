"""Where the workflow's own files are: in the repository that this package runs from, or in the installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# pyproject.toml puts them there in a wheel; an editable install has none
_INSTALLED = _PACKAGE / "repository"

FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]
# what the Snakefile of a folder that `layerlottery init` made includes
SNAKEFILE = str(FOLDER / "Snakefile")
PRESETS = FOLDER / "workflow" / "presets"
