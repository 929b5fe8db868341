"""Markdown and LaTeX of a table: the same cells, nothing unescaped, no more said than was measured."""

import re

import pytest

from layerlottery import words
from layerlottery.paper.render import CAPTIONS, REMARKS, latex, markdown
from layerlottery.paths import PAPER

ROW = {
    "dataset": "cifar10",
    "network": "resnet32",
    "item": "snip, p = 3",
    "quantity": "Δ accuracy",
    "unit": "pp",
    "paper": -0.5,
    "measured": 0.25,
    "low": -0.125,
    "high": 0.625,
    "seeds": 3,
    "margin": 0.5,
    "verdict": "disagrees",
    "random": -1.0,
    "against_random": "better",
    "scale": "the paper's",
    "note": "",
}
UNMEASURED = ROW | dict.fromkeys(("measured", "low", "high", "random", "against_random", "scale"))
UNMEASURED |= {"item": "grasp, p = 3", "seeds": 0, "verdict": "not measured"}
NASTY = ROW | {"item": "50% & a_b #1 {x} ~ ^ \\ $ | <", "note": "a_note & 2 %; [second]", "dataset": "my_set"}


def lines(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_paper_table_has_a_caption():
    assert set(CAPTIONS) == set(PAPER)


def test_markdown_shows_signs_digits_and_dashes():
    head, rule, first, second = lines(markdown("table2", [ROW, UNMEASURED], confidence=0.9), "|")
    assert cells(head) == [
        "item", "paper", "measured", "90 % interval", "seeds", "verdict", "random", "against random",
    ]  # fmt: skip
    assert cells(rule) == ["---", "---:", "---:", "---:", "---:", "---", "---:", "---"]
    assert cells(first) == ["snip, p = 3", "−0.50", "+0.25", "[−0.12, +0.62]", "3", "disagrees", "−1.00", "better"]
    assert cells(second)[2:] == ["–", "–", "0", "not measured", "–", "–"]


@pytest.mark.parametrize(
    ("unit", "paper", "measured"),
    [("pp", "−0.50", "+0.25"), ("%", "−0.50", "0.25"), ("factor", "−0.50", "0.25"), ("CKA", "−0.500", "+0.250")],
)
def test_units_decide_on_signs_and_digits(unit, paper, measured):
    line = lines(markdown("table4", [ROW | {"unit": unit}], confidence=0.95), "|")[2]
    assert cells(line)[1:3] == [paper, measured]


def test_what_varies_has_a_column_and_what_does_not_is_in_the_caption():
    plain = markdown("table4", [ROW], confidence=0.95)
    assert "cifar10, resnet32. Δ accuracy (pp)." in plain.splitlines()[0]
    other = ROW | {"network": "resnet56", "quantity": "memory saved", "unit": "%"}
    head, _, first, second = lines(markdown("table4", [ROW, other], confidence=0.95), "|")
    assert cells(head)[:3] == ["network", "item", "quantity"]
    assert [cells(first)[2], cells(second)[2]] == ["Δ accuracy (pp)", "memory saved (%)"]


def test_each_distinct_note_is_listed_once_and_marked_at_its_rows():
    rows = [ROW | {"note": "one; two"}, ROW | {"note": "two"}, ROW]
    text = markdown("table2", rows, confidence=0.95)
    marks = [re.findall(r"<sup>(.*?)</sup>", line) for line in lines(text, "|")[2:]]
    assert marks == [["1, 2"], ["2"], []]
    assert re.findall(r"^\d\. .*$", text, re.MULTILINE) == ["1. one", "2. two"]


@pytest.mark.parametrize("write", [markdown, latex])
def test_a_reduced_scale_and_a_single_seed_are_said_and_only_then(write):
    reduced = ROW | {"scale": "reduced: 8 of 200 epochs, 2,000 of 50,000 images, 1 seed", "seeds": 1}
    whole = write("table2", [ROW], confidence=0.95)
    small = write("table2", [ROW, reduced], confidence=0.95)
    assert REMARKS["small"] not in whole
    assert REMARKS["alone"] not in whole
    assert "Scale: the paper's." in whole
    assert REMARKS["small"] in small
    assert REMARKS["alone"] in small
    assert small.count("reduced: 8 of 200 epochs, 2,000 of 50,000 images, 1 seed") == 1


def test_the_margin_is_named():
    assert "Margins: Δ accuracy 0.5 pp." in markdown("table2", [ROW], confidence=0.95)


def test_the_outcome_against_random_says_how_it_was_found():
    accuracy = markdown("table2", [ROW], confidence=0.95)
    memory = markdown("table4", [ROW | {"quantity": "memory saved"}], confidence=0.95)
    assert (REMARKS["by_holm"] in accuracy, REMARKS["by_interval"] in accuracy) == (True, False)
    assert (REMARKS["by_holm"] in memory, REMARKS["by_interval"] in memory) == (False, True)


def test_the_control_is_explained_where_tickets_are_listed():
    held = {name: markdown(name, [ROW | {"random": None}], confidence=0.95) for name in PAPER}
    assert {name for name, text in held.items() if REMARKS["controlled"] in text} == {*PAPER} - {"figure3", "claims"}
    assert {name for name, text in held.items() if REMARKS["side"] in text} == {"claims"}
    assert {name for name, text in held.items() if "| random |" not in text} == {"figure3"}


@pytest.mark.parametrize("write", [markdown, latex])
def test_an_empty_table_says_so(write):
    text = write("table1", [], confidence=0.95)
    assert REMARKS["empty"] in text
    assert "tabular" not in text
    assert "|" not in text


def test_markdown_escapes_what_would_end_a_cell():
    line = lines(markdown("table2", [NASTY], confidence=0.95), "|")[2]
    assert len(cells(line)) == 8
    assert "&lt;" in line


def stripped(text):
    """LaTeX without escaped characters and without comments."""
    return re.sub(r"(?m)^%.*$", "", re.sub(r"\\[&%$#_{}\\]", "", text))


def environments(text):
    return re.findall(r"\\(begin|end)\{(\w+)\}", text)


@pytest.mark.parametrize("name", PAPER)
def test_latex_is_balanced_and_every_row_has_all_columns(name):
    rows = [ROW, UNMEASURED, NASTY]
    text = latex(name, rows, confidence=0.95)
    opened = [("begin", "table"), ("begin", "tabular"), ("end", "tabular"), ("end", "table")]
    assert environments(text) == opened
    plain = stripped(text)
    depth = 0
    for sign in plain:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows_of_body = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows_of_body) == 1 + len(rows)
    # dataset, item and five columns more, and two of the control where tickets are listed
    count = 7 if name == "figure3" else 9
    assert {stripped(line).count("&") for line in rows_of_body} == {count - 1}
    columns = text.split(r"\begin{tabular}{")[1].splitlines()[0].removesuffix("}")
    assert len(columns.replace(r"p{0.3\linewidth}", "p")) == count


def test_latex_leaves_no_special_character_and_nothing_but_ascii():
    text = latex("table2", [NASTY, ROW | {"item": "every ticket wins (ξ = 1)"}], confidence=0.95)
    assert text.isascii()
    bare = re.sub(r"\\(textsuperscript|textbackslash|textasciitilde|textasciicircum|textbar)\{", "", text)
    assert "my_set" not in bare
    assert r"my\_set" in bare
    assert not re.search(r"(?<!\\)[%#_]", "\n".join(line for line in bare.splitlines() if not line.startswith("%")))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("\N{MINUS SIGN}0.5", "$-$0.5"),
        ("{$#}", r"\{\$\#\}"),
        ("\\~^", r"\textbackslash{}\textasciitilde{}\textasciicircum{}"),
        ("[0, 1]", "{[}0, 1{]}"),
        ("Δ < ξ", r"$\Delta$ $<$ $\xi$"),
    ],
)
def test_latex_prints_what_was_written(text, expected):
    assert words.latex(text) == expected
