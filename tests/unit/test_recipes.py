"""The pages of docs/recipes are programs that run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "recipes"
# what each page needs beside the package itself
NEEDS = {
    "torchvision": (),
    "torch_pruning": (),
    "timm": ("timm",),
    "lightning": ("lightning",),
    "transformers": ("transformers", "accelerate", "onnx", "onnxruntime", "onnxscript"),
}
# no page may load anything
OFFLINE = {"HF_HUB_OFFLINE": "1", "TORCH_HOME": "/nonexistent", "CUDA_VISIBLE_DEVICES": ""}


def program(page):
    """The code blocks of a page as one program, on the lines that they have in it."""
    kept, lines = False, []
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            kept, line = line == "```python", ""
        lines.append(line if kept else "")
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_a_recipe_runs(name, tmp_path):
    for needed in NEEDS[name]:
        pytest.importorskip(needed)
    page = FOLDER / f"{name}.md"
    (tmp_path / "recipe.py").write_text(program(page))
    ran = subprocess.run(
        [sys.executable, "recipe.py"],
        cwd=tmp_path,
        env=os.environ | OFFLINE,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ran.returncode == 0, f"{page}, by the lines of the page:\n{ran.stderr[-3000:]}"
    assert ran.stdout


def test_every_recipe_is_listed_and_run():
    pages = {page.stem for page in FOLDER.glob("*.md")} - {"index"}
    assert pages == NEEDS.keys()
    listed = re.findall(r"^\| \[.*?\]\((\w+)\.md\)", (FOLDER / "index.md").read_text(), re.MULTILINE)
    assert {*listed} == pages
