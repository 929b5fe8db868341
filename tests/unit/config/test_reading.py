"""Configuration files as they are on disk: keys that stand twice, and files that are none."""

from __future__ import annotations

import os

import pytest

from layerlottery.config.loading import load_benchmark
from layerlottery.config.reading import LARGEST, read_yaml
from layerlottery.errors import LayerLotteryError

GOOD = "training: {epochs: 3}\nstudies:\n  - {name: a, seeds: [0]}\n  - {name: a, seeds: [0]}\n"


def refused(path) -> str:
    with pytest.raises(LayerLotteryError) as raised:
        read_yaml(path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("results: a\ntraining:\n  epochs: 1\n  crop: 0\n  epochs: 2\n", "epochs", (3, 5)),
        ("results: a\nseeds: [1]\nresults: b\n", "results", (1, 3)),
        ("studies:\n- name: a\n  seeds: [0]\n  name: b\n", "name", (2, 4)),
        ("{report: {title: x,\n'title': y}}", "title", (1, 2)),
        ("criteria:\n  snip: {options: {1: a,\n  '1': b}}\n", "1", (2, 3)),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  'd': 2\n", "d", (4, 5)),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, key, lines):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert f"the key {key!r} stands twice, in lines {lines[0]} and {lines[1]}" in refused(path)


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2,\n"a": 3}', '{"r": [{"\\u0078": 1, "x": 2}]}'])
def test_a_key_that_stands_twice_in_json_is_refused(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_text(text)
    assert "stands twice" in refused(path)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (GOOD, {"training": {"epochs": 3}, "studies": [{"name": "a", "seeds": [0]}] * 2}),
        ("", None),
        ("\ufeffresults: é\n", {"results": "é"}),
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: &x {c: 1}\nb:\n  <<: *x\n  c: 2\n", {"a": {"c": 1}, "b": {"c": 2}}),
        ('{\n\t"a": {\n\t\t"b": 1\n\t}\n}', {"a": {"b": 1}}),
    ],
)
def test_what_is_plain_is_read(tmp_path, text, held):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path) == held


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize(
    "text",
    ["&x {a: *x}\n", "a: &x\n- *x\n", BOMB, "a: !!bool x", "a: !!timestamp x", "a: !!python/name:os.system x"],
)
def test_what_means_more_than_it_says_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    refused(path)


def test_what_is_no_file_of_yaml_is_refused(tmp_path):
    os.mkfifo(pipe := tmp_path / "pipe")
    (binary := tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (deep := tmp_path / "deep").write_text("[" * 100_000)
    with (sparse := tmp_path / "sparse").open("wb") as file:
        file.truncate(LARGEST + 1)
    for path in (pipe, tmp_path, binary, deep, sparse, tmp_path / "none"):
        refused(path)


def test_a_benchmark_looks_at_its_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("results: a\nresults: b\n")
    with pytest.raises(LayerLotteryError, match="stands twice"):
        load_benchmark({"results": "b"}, path)
