"""Cards of networks whose files hold hostile text, as another parser of Markdown reads them."""

import re
import shutil

import pyarrow as pa
import pytest
import torch
from tests.unit.hostile import TEXT, worse
from tests.unit.test_escaping import FORBIDDEN, steers, tokens
from tests.unit.trained import TICKET

import layerlottery
from layerlottery.export.result import export_result
from layerlottery.store.artifacts import read_facts, read_table, write_facts, write_table

# code is ours where it has a fence of its own; headings are counted
CHECKED = FORBIDDEN - {"heading_open", "code_inline", "fence", "bullet_list_open"}


def headings(card):
    return re.findall(r"(?m)^#+ .{0,12}", card)


@pytest.fixture
def hostile(made, tmp_path):
    """A copy of the results in which image classes, machines, revisions and tests have hostile names."""
    root = tmp_path / "results"
    shutil.copytree(made, root)
    for path, names in (
        (root / "datasets" / "dataset=digits" / "facts.json", ["classes"]),
        (root / TICKET.folder / "training.json", ["device", "git_commit", "torch_version", "segments"]),
        (root / TICKET.folder / "ticket.json", ["criterion_settings"]),
    ):
        facts = read_facts(path)
        made_by = facts.pop("config_hash")
        assert set(names) <= set(facts), facts.keys()
        write_facts(path, facts | {name: worse(facts[name]) for name in names}, config_hash=made_by)
    for name in ("attack", "shift"):
        path = root / TICKET.folder / f"{name}.parquet"
        rows = [row | {"name": row["name"] + TEXT * (row["kind"] != "clean")} for row in read_table(path).to_pylist()]
        write_table(path, pa.Table.from_pylist(rows), config_hash="0" * 64)
    return root


def test_a_card_shows_hostile_names_and_obeys_none(made, hostile, tmp_path):
    cards = []
    for number, root in enumerate((made, hostile)):
        export_result(root / TICKET.folder, tmp_path / str(number), ["card"])
        cards.append((tmp_path / str(number) / "README.md").read_text())
    honest, card = cards
    assert "&lt;img src=x" in card
    assert tokens(card) & CHECKED <= tokens(honest)
    assert not steers(card)
    assert headings(card) == headings(honest)


def test_a_ticket_s_card_shows_hostile_values_and_obeys_none(ticket):
    plain = layerlottery.model_card(ticket, name="mine", dataset="d", training={"a": "b"}, provenance={"c": 1.0})
    named = {"name": TEXT, "dataset": TEXT, "license": TEXT, "file": TEXT}
    object.__setattr__(ticket, "criterion", TEXT)
    object.__setattr__(ticket, "model", type(TEXT.replace("\x00", ""), (torch.nn.Identity,), {})())
    card = layerlottery.model_card(ticket, training={TEXT: TEXT}, provenance={TEXT: TEXT}, **named)
    assert tokens(card) & CHECKED <= tokens(plain)
    assert not steers(card)
    assert headings(card)[1:] == headings(plain)[1:]
