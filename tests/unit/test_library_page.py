"""The page docs/library.md is a program that runs, and its tables say what the command does."""

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import layerlottery
from layerlottery.cli.main import cli
from layerlottery.export.result import FORMATS

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that the page's code leaves behind, and the folder that it ran in."""
    folder, held = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile("\n".join(CODE), "docs/library.md", "exec"), held)  # noqa: S102
    return held, folder


def test_its_code_runs(ran):
    held, folder = ran
    assert {path.name for path in folder.iterdir()} == {
        *("ticket.safetensors", "ticket.pt2", "ticket.onnx", "README.md"),
    }
    assert len(held["ticket"].removed_blocks) == 2
    assert held["difference"] < 1e-4
    assert held["card"].startswith("# Five blocks less two\n")


def test_what_it_computes_agrees(ran):
    held, _ = ran
    logits = held["program"](held["images"]).detach()
    assert abs(logits - held["session"].run(["logits"], {"images": held["images"].numpy()})[0]).max() < 1e-4
    assert held["own"].keys() == held["scores"].keys() == held["by_weights"].keys()
    assert any("mlp" in name or "self_attention" in name for name in held["narrow"].removed_blocks)


def test_it_names_every_function_of_the_library():
    calls = [node for text in CODE for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    used = {node.attr for node in calls if ast.unparse(node.value) == "ll"}
    assert used <= set(layerlottery.__all__)
    functions = {name for name in layerlottery.__all__ if name[0].islower()}
    assert functions <= used


def test_its_formats_are_the_commands():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert tuple(rows) == FORMATS
    shown = CliRunner().invoke(cli, ["export", "--help"]).output
    assert all(name in shown for name in rows)
