"""The page names the recipes that its networks were trained by, and says what its tickets are."""

import json

import pandas as pd
import pytest
from tests.unit.report.conftest import SMALL, TUNED, write_rows

from layerlottery.config.training import FineTuningSettings, TrainingSettings
from layerlottery.report.recipes import recipe_facts, ticket_words
from layerlottery.report.report import measured
from layerlottery.report.tables import read_tables
from layerlottery.report.verdict import findings, overall
from layerlottery.store.artifacts import read_table


def run(recipe, network, settings, **changes):
    held = settings.model_dump(mode="json")
    row = {"recipe": recipe, "network": network, "rewind": "0", "criterion": None, "epochs": settings.epochs}
    return row | {"training_settings": json.dumps(held)} | changes


PLAIN = run("default-11111111", "resnet20", TrainingSettings())
ADAM = TrainingSettings(optimizer="adamw", schedule="cosine", epochs=30, learning_rate=0.001)


def test_each_of_several_recipes_is_named():
    ticket = PLAIN | {"criterion": "snip", "epochs": 5, "rewind": "195"}
    assert recipe_facts(pd.DataFrame([PLAIN, ticket])) == []
    tuned = run("default-11111111", "resnet20", FineTuningSettings(), rewind=TUNED, criterion="snip")
    runs = pd.DataFrame([PLAIN, ticket, tuned, run("vit-22222222", "vit", ADAM)])
    assert recipe_facts(runs) == [
        ("recipe default", "SGD, schedule step, 200 epochs, learning rate 0.1 (resnet20)"),
        ("recipe vit", "AdamW, schedule cosine, 30 epochs, learning rate 0.001 (vit)"),
        ("recipe of fine-tuning", "SGD, schedule cosine, 40 epochs, learning rate 0.01 (resnet20)"),
    ]


def test_recipes_of_one_name_are_told_apart():
    other = run("default-22222222", "resnet20", ADAM)
    assert [term for term, _ in recipe_facts(pd.DataFrame([PLAIN, other]))] == [
        "recipe default 11111111",
        "recipe default 22222222",
    ]


def test_the_facts_of_the_page_hold_them(make, tmp_path):
    runs = read_tables(make(tmp_path, **SMALL | {"rounds": 1})).runs
    assert measured(runs)[:2] == [
        ("recipe default", "12 epochs (resnet32)"),
        ("recipe of fine-tuning", "4 epochs (resnet32)"),
    ]
    assert "epochs" not in dict(measured(runs))


@pytest.mark.parametrize(
    ("tickets", "said"),
    [
        ([("layers", "0", 0)], "some of its residual blocks, trained like the dense one."),
        (
            [("layers", TUNED, 0)],
            "some of its residual blocks, fine-tuned from trained weights by a recipe of its own.",
        ),
        (
            [("layers", "0", 0), ("filters_by_share", "25", 20)],
            "some of its residual blocks or some of its filters, trained like the dense one or trained for the "
            "epochs that remain, from the dense network's weights after some epochs, in one step or in rounds.",
        ),
    ],
)
def test_what_a_ticket_is(tickets, said):
    rows = pd.DataFrame(tickets, columns=["structure", "rewind", "step"])
    assert ticket_words(rows) == f"A ticket is the network without {said}"


def test_networks_that_learned_nothing_are_named(make, tmp_path):
    folder = make(tmp_path, **SMALL | {"groups": (("digits", "resnet20"), ("digits", "resnet32"))})
    rows = read_table(folder / "summary.parquet").to_pylist()
    lost = [row | ({"learned": False, "chance": 96.0} if row["network"] == "resnet20" else {}) for row in rows]
    write_rows(folder, "summary", lost)
    tables = read_tables(folder)
    said = overall(findings(tables, "1"), tables, "1")
    assert said.endswith(" It is not shown that anything was learned in digits · resnet20.")
