"""The card of a library ticket says what the ticket and its user say."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import layerlottery
from layerlottery.errors import LayerLotteryError

ROOT = Path(__file__).parents[3]


def rows(card, heading):
    """The cells of a section's tables, without heads."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)[1]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_costs_are_those_of_the_two_networks(ticket):
    card = layerlottery.model_card(ticket, name="mine")
    found = {row[0]: row[1:] for row in rows(card, "Cost")[1:]}
    left = sum(one.numel() for one in ticket.model.parameters())
    # a block: a 3x3 convolution of 4 to 4 channels without bias, and BatchNorm
    block = 4 * 4 * 9 + 8
    share = f"{100 * block / (left + block):.1f}\N{NO-BREAK SPACE}%"
    assert found["parameters"] == [f"{left + block}", f"{left}", share]
    # a stem of 3 to 4 channels on 8x8 pixels, the blocks, a classifier of 4 to 5
    macs = [64 * 9 * (3 * 4 + blocks * 4 * 4) + 4 * 5 for blocks in (3, 2)]
    assert found["multiply-accumulates, one image"][:2] == [f"{one:,}" for one in macs]


def test_blocks_come_with_scores_and_fate(ticket):
    found = rows(layerlottery.model_card(ticket, name="mine"), "Blocks")[1:]
    assert [row[0].strip("`") for row in found] == sorted(ticket.scores, key=ticket.scores.get)
    assert [row[0].strip("`") for row in found if row[2] == "removed"] == ticket.removed_blocks
    assert all(float(row[1]) == pytest.approx(ticket.scores[row[0].strip("`")], rel=1e-5) for row in found)


def test_what_the_user_measured_is_in_it_and_nothing_else(ticket):
    bare = layerlottery.model_card(ticket, name="mine")
    assert not re.search(r"^## (Accuracy|Robustness|Training)$", bare, re.MULTILINE)
    card = layerlottery.model_card(
        ticket,
        name="mine",
        accuracy=91.25,
        dense_accuracy=92.0,
        dataset="pets",
        robustness={"mCE, percent": 103.456789, "PGD, 8/255": "12.0 %"},
        training={"epochs": 30},
        provenance={"seed": 7},
        license="MIT",
    )
    differ = [
        ["ticket", "91.25 %"],
        ["whole network", "92.00 %"],
        ["difference", "\N{MINUS SIGN}0.75 percentage points"],
    ]
    assert rows(card, "Accuracy") == differ
    assert rows(card, "Robustness") == [["mCE, percent", "103.5"], ["PGD, 8/255", "12.0 %"]]
    assert rows(card, "Training") == [["epochs", "30"]]
    assert {("seed", "7"), ("license", "MIT"), ("torch", torch.__version__)} <= set(
        map(tuple, rows(card, "Provenance"))
    )


def test_the_hash_is_that_of_the_weights(ticket):
    def hashed():
        return dict(rows(layerlottery.model_card(ticket, name="mine"), "Provenance"))["weights, SHA-256"]

    before = hashed()
    assert re.fullmatch(r"[0-9a-f]{64}", before)
    assert hashed() == before
    with torch.no_grad():
        ticket.model.head.bias[0] += 1
    assert hashed() != before


def test_sections_of_nothing_are_left_out(ticket):
    card = layerlottery.model_card(ticket, name="mine", robustness={"PGD": None}, training={"note": ""})
    assert card == layerlottery.model_card(ticket, name="mine")


def test_no_value_breaks_a_table(ticket):
    card = layerlottery.model_card(ticket, name="mine", robustness={"a|b": "c\nd|e"})
    assert rows(card, "Robustness") == [[r"a\|b", r"c d\|e"]]


HOSTILE = "a|b\n## c `d` <script>alert(1)</script> \\| e ```\r\n```"


def test_no_name_or_value_becomes_markup(ticket):
    block = ticket.removed_blocks[0]
    object.__setattr__(ticket, "removed_blocks", [HOSTILE])
    object.__setattr__(ticket, "scores", {HOSTILE: ticket.scores[block]})
    given = {"dataset": HOSTILE, "training": {HOSTILE: HOSTILE}, "robustness": {HOSTILE: HOSTILE}, "license": HOSTILE}
    card = layerlottery.model_card(ticket, name=HOSTILE, file=HOSTILE, provenance={HOSTILE: HOSTILE}, **given)
    outside = re.sub(r"^```python\n.*?^```$", "", card, flags=re.MULTILINE | re.DOTALL)
    # inline code, whatever its fence, shows what it holds
    assert "<script" not in re.sub(r"(`+) .*? \1(?!`)", "", outside)
    assert "## c" not in re.findall("^## .", card, re.MULTILINE)
    plain = r"a\|b ## c \`d\` &lt;script>alert(1)&lt;/script> \\\| e \`\`\` \`\`\`"
    assert card.startswith(f"# {plain}\n")
    assert rows(card, "Training") == [[plain, plain]]
    assert [len(row) for row in rows(card, "Blocks")] == [3, 3]


def test_a_file_s_name_is_no_code(ticket):
    card = layerlottery.model_card(ticket, name="mine", file='x"); exit(); ("')
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    call = ast.parse(code).body[1].value
    assert ast.literal_eval(call.args[0]) == 'x"); exit(); ("'


@pytest.mark.parametrize("value", [-1, 100.1, float("nan")])
def test_an_accuracy_is_a_percentage(ticket, value):
    with pytest.raises(LayerLotteryError, match=r"accuracy: found .*; allowed: 0 to 100 percent"):
        layerlottery.model_card(ticket, name="mine", accuracy=value)


def test_the_lines_of_use_load_the_ticket(ticket, tmp_path, images):
    layerlottery.save_ticket(ticket, tmp_path / "ticket.safetensors")
    card = layerlottery.model_card(ticket, name="mine")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    torch_code = "import torch\nfrom tests.unit.export.conftest import Net as model_factory\n" + code
    torch_code += "\nimages = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))"
    torch_code += "\nprint(network(images).tolist())"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{torch_code}"]
    ran = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    expected = ticket.model.eval()(images)
    torch.testing.assert_close(torch.tensor(json.loads(ran.stdout)), expected)


def test_a_wrapped_network_is_named_by_what_it_is(ticket):
    object.__setattr__(ticket, "model", nn.DataParallel(ticket.model))
    assert "Net without 1 of its 3" in layerlottery.model_card(ticket, name="mine")
