"""What decorators of a room declare, read from its source: plain values by the function's name."""

import pytest

from layerlottery.config import declared as module
from layerlottery.config.declared import declared


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Declarations by the decorator `@kind(…)` in files of a room of the test's own: {file: code}."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    (tmp_path / "room").mkdir()

    def read(**files):
        for name, code in files.items():
            (tmp_path / "room" / f"{name}.py").write_text(code)
        declared.cache_clear()
        return declared("room", "kind")

    yield read
    declared.cache_clear()


def test_literals_come_by_file_and_line_and_nothing_is_imported(read):
    found = read(
        second="@kind(free=True)\ndef c(): ...\n",
        first="import nothing_of_this_name\n@kind(needs=('a', 'b'), most=-1.5)\ndef b(): ...\n@kind()\ndef a(): ...\n",
    )
    assert found == {"b": {"needs": ("a", "b"), "most": -1.5}, "a": {}, "c": {"free": True}}
    assert list(found) == ["b", "a", "c"]


@pytest.mark.parametrize(
    "code",
    [
        "@other(needs=1)\ndef a(): ...",
        "@kind\ndef a(): ...",
        "@room.kind(needs=1)\ndef a(): ...",
        "def outer():\n    @kind(needs=1)\n    def a(): ...",
        "@kind(needs=1)\nclass A: ...",
        "kind(needs=1)",
    ],
)
def test_other_decorators_and_other_places_declare_nothing(read, code):
    assert read(one=code) == {}


def test_two_functions_of_one_name_are_an_error(read):
    code = "@kind()\ndef a(): ..."
    with pytest.raises(ValueError, match=r"two\.py: a: another function of this name"):
        read(one=code, two=code)


def test_one_of_several_decorators_is_enough(read):
    assert read(one="@torch.no_grad()\n@kind(needs=1)\n@other(x=y)\ndef a(): ...") == {"a": {"needs": 1}}


@pytest.mark.parametrize("argument", ["needs=NAME", "needs=dict(a=1)", "needs=[one for one in ()]", "**common"])
def test_an_argument_that_is_no_literal_is_an_error(read, argument):
    with pytest.raises(ValueError, match=r"one\.py: a: its declaration must hold plain values only"):
        read(one=f"@kind({argument})\ndef a(): ...")
