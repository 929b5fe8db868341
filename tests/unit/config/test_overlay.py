"""A configuration that extends another one, by hand."""

from pathlib import Path

import pytest
import yaml

from layerlottery.config.loading import load_benchmark
from layerlottery.config.overlay import completed
from layerlottery.errors import LayerLotteryError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text("training: {epochs: 8, lr: 0.1}\nseeds: [0, 1]\ntitle: base\n")
    (tmp_path / "middle.yaml").write_text("extends: base.yaml\ntraining: {lr: 0.2}\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "around.yaml").write_text(f"extends: ../{tmp_path.name}/around.yaml\n")
    (tmp_path / "circle.yaml").write_text("extends: circle.yaml\n")
    return tmp_path


def test_without_the_key_nothing_changes():
    assert completed({"a": {"b": 1}}, Path("nowhere")) == {"a": {"b": 1}}


def test_mappings_are_merged_and_lists_replaced(folder):
    found = completed({"extends": "middle.yaml", "seeds": [7], "training": {"epochs": 2}, "new": None}, folder)
    assert found == {"training": {"epochs": 2, "lr": 0.2}, "seeds": [7], "title": "base", "new": None}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.yaml", "gone.yaml: No such file or directory"),
        ("list.yaml", "list.yaml: found list; allowed: a mapping"),
        ("broken.yaml", "broken.yaml: while parsing"),
        ("circle.yaml", "circle.yaml extends itself"),
        ("", "found ''; allowed: the name"),
        ("around.yaml", "around.yaml extends itself"),
        (3, "found 3; allowed: the name of a YAML file"),
        ("two\nlines", r"found 'two\\nlines'; allowed: the name of a YAML file"),
    ],
)
def test_what_can_t_be_extended_is_named(folder, name, message):
    with pytest.raises(LayerLotteryError, match=f"^configuration: extends: .*{message}") as raised:
        completed({"extends": name}, folder)
    assert "\n" not in str(raised.value)


def test_null_extends_nothing(folder):
    assert completed({"extends": None, "seeds": [1]}, folder) == {"seeds": [1]}


def test_two_files_can_t_extend(folder):
    with pytest.raises(LayerLotteryError, match=r"extends: found in a\.yaml and b\.yaml together; allowed: one"):
        load_benchmark({"extends": "base.yaml"}, "a.yaml", "b.yaml")


def bomb(kind, layers=12):
    """A few lines of YAML whose aliases stand for ten to the power of so many values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]" if kind == "list" else "a0: &a0 {a: x, b: x, c: x}"]
    for layer in range(1, layers * (1 if kind == "list" else 2)):
        one = f"*a{layer - 1}"
        held = f"[{', '.join([one] * 10)}]" if kind == "list" else f"{{a: {one}, b: {one}, c: {one}}}"
        lines.append(f"a{layer}: &a{layer} {held}")
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb("list"), bomb("mapping"), "a: &a [*a]", "a: " + "[" * 60 + "]" * 60])
def test_aliases_that_stand_for_more_than_anyone_writes_are_one_line(tmp_path, text):
    held = yaml.safe_load(text)
    for name in ("base.yaml", "config.yaml"):
        (tmp_path / name).write_text(text)
    for given in (held, {"results": list(held.values())}, {"extends": "base.yaml"}, held | {"extends": "base.yaml"}):
        with pytest.raises(LayerLotteryError, match=r"allowed: \d+ values, aliases written out|nested too deeply"):
            load_benchmark(given, tmp_path / "config.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "a: !!python/object/apply:os.system ['touch ran']", "a: !x 1"])
def test_what_exhausts_or_abuses_the_parser_is_one_line(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(text)
    with pytest.raises(LayerLotteryError, match=r"^configuration: extends: \S+base\.yaml: [^\n]+$"):
        load_benchmark({"extends": "base.yaml"})
    assert not (tmp_path / "ran").exists()


def test_only_a_file_is_extended():
    with pytest.raises(LayerLotteryError, match=r"^configuration: extends: /dev/zero: not a file$"):
        completed({"extends": "/dev/zero"}, Path())
