"""Configuration files as they are on disk: keys that stand twice, and files that are none."""

from __future__ import annotations

import os

import pytest

from layerlottery.config.benchmark import load_benchmark
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
        ('{"report": {"title": "x",\n"title": "y"}}', "title", (1, 2)),
        ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  'd': 2\n", "d", (4, 5)),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, key, lines):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert f"the key {key!r} stands twice, in lines {lines[0]} and {lines[1]}" in refused(path)


@pytest.mark.parametrize("text", [GOOD, "", "\ufeff" + GOOD, "a: &x [1]\nb: *x\n", "&x {a: *x}\n", "? [1, 2]\n: 3\n"])
def test_what_is_plain_is_read(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path) == text.removeprefix("\ufeff")


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
