"""Any text becomes harmless where it is written, and what is harmless stays as it is."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.hostile import TEXT

from layerlottery.words import identifier, latex, markdown, one_line, terminal, visible

# Unicode's own names of what steers or hides: controls, surrogates, ends of lines and paragraphs, directions
STEERING = {"Cc", "Cs", "Zl", "Zp"}
DIRECTIONS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI", "BN"}
JOINERS = {"\u200c", "\u200d"}  # of Persian and Hindi, and of emoji
PLAIN = ["pgd_l2", "a b", "θ0", "p\u00a0=\u00a03", "\u22120.5 [\u22121.0, +0.2]", "99.5\u00a0%", "stage1.0, l1 at init"]
PLAIN += ["café", "猫", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "T-shirt/top", "R&D", "+0.50"]
WORDS = st.text(st.one_of(st.sampled_from("<>[]()!|`*_~#&\\:/.-+=\n\r\t '\"w1"), st.characters()), max_size=40)


def steers(text):
    """Characters that a terminal obeys, or that turn or hide text, newlines and tabs aside."""
    kinds = ((one, unicodedata.category(one), unicodedata.bidirectional(one)) for one in set(text) - {"\n", "\t"})
    return {one for one, kind, turns in kinds if kind in STEERING or (turns in DIRECTIONS and one not in JOINERS)}


def tokens(text):
    """Types of everything that another parser of Markdown makes of a text; a table's cells besides."""
    found, left = [], MarkdownIt("commonmark").enable("table").parse(text)
    while left:
        token = left.pop()
        found.append(token.type)
        left += token.children or []
    return set(found)


def shown(text):
    """The plain text of one paragraph of Markdown."""
    (inline,) = [token for token in MarkdownIt("commonmark").parse(text) if token.type == "inline"]
    return "".join(child.content for child in inline.children)


@pytest.mark.parametrize("text", [TEXT, "\x1b[31m", "a\rb", "\u202eabc", "\ud800", "\u200b", "\x9b2J", "a\u2028b"])
def test_nothing_steers_a_terminal(text):
    assert steers(text)
    assert not steers(terminal(text))
    assert not steers(one_line(text))
    assert "\n" not in one_line(text)


@given(WORDS)
def test_nothing_ever_steers_and_escapes_are_of_python(text):
    assert not steers(visible(text))
    if "\\" not in text:
        kept = visible(text)
        # a character that is no letter of Latin stays, or is what its escape says
        assert re.sub(r"\\(x..|u....|U........)", lambda one: ascii_read(one[0]), kept.replace("\\r", "\r")) == text


def ascii_read(escape):
    return chr(int(escape[2:], 16))


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_harmless_stays(text):
    assert visible(text) == one_line(text) == terminal(text) == text
    assert shown(markdown(text)) == text


def test_a_long_line_is_cut_in_the_middle_and_says_so():
    found = terminal("a" * 20_000 + "\n" + "b" * 10_000)
    first, second = found.split("\n")
    assert re.fullmatch(r"a{5000}… \(10000 more characters\) …a{5000}", first)
    assert second == "b" * 10_000


def test_a_line_of_spaces_takes_no_time():
    assert one_line(" " * 1_000_000 + "x").endswith("x")
    assert one_line("a \n  \r\n b") == "a b"


# Markdown

FORBIDDEN = {"html_inline", "html_block", "link_open", "image", "code_inline", "code_block", "fence", "heading_open"}
FORBIDDEN |= {"hr", "bullet_list_open", "blockquote_open", "table_open", "em_open", "strong_open"}
BLOCKS = ["# x", "> x", "- x", "+ x", "1. x", "1) x", "~~~", "```", "---", "===", "***", "    code", "\tcode", "<b>x"]
LINKS = ["[a](b)", "![a](b)", "[a][b]", "[b]: c", "<https://e.example>", "&lt;b&gt;", "`a`", "*a*", "a|b", "**a**"]


@pytest.mark.parametrize("text", [TEXT, *BLOCKS, *LINKS])
def test_markdown_shows_the_text(text):
    assert tokens(f"1. {markdown(text)}\n\n[b]") & FORBIDDEN == set()
    assert shown(markdown(text)) == one_line(text).strip()


@given(WORDS)
def test_markdown_shows_any_text(text):
    written = markdown(text)
    assert tokens(f"x\n\n{written}\n\n[b]\n") & (FORBIDDEN - {"em_open", "strong_open"}) <= set()
    (row,) = (
        MarkdownIt("commonmark").enable("table").render(f"|h|i|\n|---|---|\n| {written} | y |").count("<tr>") - 1,
    )
    assert row == 1


@pytest.mark.parametrize("text", ["https://e.example", "HTTP://e.example", "ftp://e.example", "www.e.example", TEXT])
def test_addresses_do_not_become_links_by_themselves(text):
    # as GitHub's extension finds them
    assert not re.search(r"(?i)(https?|ftp)://|(?<![\w])www\.", markdown(text))


# LaTeX

KNOWN = {"textbackslash", "textasciitilde", "textasciicircum", "textbar", "times", "Delta", "xi", "theta", "pm"}


def commands(text):
    """Names of LaTeX's commands in a text, those of one sign that prints itself aside."""
    return set(re.findall(r"\\([A-Za-z]+|[^&%$#_{}])", text))


@given(st.one_of(WORDS, st.just(TEXT)))
def test_latex_holds_no_command_that_is_not_ours(text):
    written = latex(text)
    assert commands(written) <= KNOWN
    assert "\n" not in written
    bare = re.sub(r"\\[&%$#_{}]", "", written)
    assert not set(bare) & set("&%#_~^") - ({"~"} if "\u00a0" in text else set())
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0


# ids


@given(WORDS)
def test_an_id_has_no_sign_that_ends_it(text):
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", identifier(text))


def test_ids_of_names_that_need_no_change_are_these_names():
    assert identifier("attack0x0pgd_l2.b-1x2") == "attack0x0pgd_l2.b-1x2"
    assert len({identifier(one) for one in ("a b", "a<b", "a>b", "ab")}) == 4
