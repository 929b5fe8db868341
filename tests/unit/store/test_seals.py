"""A seal's place follows from the format, whatever the content says; and only regular files are opened at all."""

import hashlib
import json
import os
import re
import socket

import numpy as np
import pyarrow as pa
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts, seals
from layerlottery.store.arrays import read_array, write_array
from layerlottery.store.regular import require_regular

MARK = "layerlottery-sha256:"
NASTY = [
    MARK,
    MARK + 64 * "0",
    MARK + hashlib.sha256(b"").hexdigest(),
    f'{{\n "artifact": {{\n  "seal": "{MARK}{64 * "0"}"',
    f"\x18\x04seal\x18T{MARK}{64 * '0'}",
    f"<!-- made by x {MARK}{64 * '0'} -->\n",
]


def write(kind, path, text):
    """An artifact whose every string is this text."""
    how = {"config_hash": text, "inputs": {text: text}}
    if kind == "facts":
        artifacts.write_facts(path, {text: [text, {text: text}], "artifact": {"seal": text}}, **how)
    elif kind == "tensors":
        artifacts.write_tensors(path, {f"a{text}": np.ones(3), f"z{text}": np.zeros(0)}, {text: text}, **how)
    elif kind == "table":
        table = pa.table({text: [text, None, "z"], "seal": [text, text, text]}, metadata={"seal": text})
        artifacts.write_table(path, table, **how)
    else:
        comment = ("% ", "") if kind == "tex" else ("<!-- ", " -->")
        artifacts.write_document(path, f"{text}\nabout {text}\n{text}", comment=comment, **how)


def read(kind, path):
    if kind == "facts":
        return artifacts.read_facts(path)
    if kind == "tensors":
        return artifacts.read_tensors(path)
    return artifacts.read_table(path).to_pydict() if kind == "table" else artifacts.check(path).read_text()


@pytest.mark.parametrize("kind", ["facts", "tensors", "table", "page", "tex"])
@pytest.mark.parametrize("text", NASTY, ids=["mark", "blank", "digest", "json", "footer", "comment"])
def test_the_mark_in_any_string_is_text(tmp_path, kind, text):
    path = tmp_path / f"networks/dataset={MARK}/file"
    write(kind, path, text)
    held = read(kind, path)
    if kind == "facts":
        assert held == {text: [text, {text: text}], "artifact": {"seal": text}, "config_hash": text}
    elif kind == "tensors":
        assert held[0][f"a{text}"].tolist() == [1, 1, 1]
        assert held[1][text] == text
    elif kind == "table":
        assert held == {text: [text, None, "z"], "seal": [text, text, text]}
    else:
        assert held.startswith(f"{text}\nabout {text}\n{text}")
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(LayerLotteryError):
            read(kind, path)


@pytest.mark.parametrize("kind", ["facts", "tensors", "table", "page", "tex"])
def test_the_seal_is_the_hash_of_the_rest(tmp_path, kind):
    """Computed as the docs say: the digits at their place as zeros."""
    path = tmp_path / "file"
    write(kind, path, "plain")
    content = path.read_bytes()
    (found,) = re.finditer(rb"layerlottery-sha256:([0-9a-f]{64})", content)
    start, end = found.span(1)
    blank = content[:start] + 64 * b"0" + content[end:]
    assert found[1].decode() == hashlib.sha256(blank).hexdigest()


@pytest.mark.parametrize("kind", ["facts", "tensors", "table", "page", "tex"])
def test_a_sparse_tail_is_refused_before_it_is_read(tmp_path, kind):
    path = tmp_path / "file"
    write(kind, path, "plain")
    os.truncate(path, 30 << 30)
    with pytest.raises(LayerLotteryError, match="not a file of this project, or its end is missing"):
        read(kind, path)


def stand_in(kind, path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(path))
        return bound
    else:
        with path.open("wb") as file:
            file.truncate(30 << 30)
    return None


STAND_INS = {
    "pipe": "found a named pipe; allowed: a regular file",
    "folder": "found a folder; allowed: a regular file",
    "zero": "found a device; allowed: a regular file",
    "socket": "found a socket; allowed: a regular file",
    "sparse": "not a ",
}


@pytest.mark.parametrize("stand", STAND_INS)
@pytest.mark.parametrize("kind", ["facts", "tensors", "table", "page", "array"])
def test_what_is_no_file_is_one_line_at_once(tmp_path, monkeypatch, kind, stand):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f"
    held = stand_in(stand, path.relative_to(tmp_path)) if stand == "socket" else stand_in(stand, path)
    with pytest.raises(LayerLotteryError, match=f"^{path}: {STAND_INS[stand]}") as caught:
        read_array(path, "0" * 64) if kind == "array" else read(kind, path)
    assert "\n" not in str(caught.value)
    if held is not None:
        held.close()


def test_an_array_longer_than_its_header_says_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.npy"
    content = write_array(path, np.arange(5))
    os.truncate(path, 30 << 30)
    with pytest.raises(LayerLotteryError, match=r"a\.npy: its size does not match its header"):
        read_array(path, content)


def test_sizes_have_a_limit_where_one_is_asked_for(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"12345")
    assert require_regular(path, 5) == path
    with pytest.raises(LayerLotteryError, match="f: found 5 bytes; allowed: 4 or fewer"):
        require_regular(path, 4)
    with pytest.raises(LayerLotteryError, match="f/g: no such file"):
        require_regular(path / "g")


def test_seals_of_earlier_versions_are_read_where_they_were(tmp_path):
    text = json.dumps({"artifact": {"config_hash": "c", "seal": seals.BLANK}, "facts": {"n": 1}}, indent=1)
    seal = MARK + hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "old.json").write_text(text.replace(seals.BLANK, seal))
    assert artifacts.read_facts(tmp_path / "old.json") == {"n": 1, "config_hash": "c"}
    # but not among results, where they could be anyone's
    place = tmp_path / "networks/dataset=d/network=n/seed=0/training.json"
    place.parent.mkdir(parents=True)
    place.write_text(text.replace(seals.BLANK, seal))
    with pytest.raises(
        LayerLotteryError, match=r"training\.json: says not where it belongs: written by an earlier ver"
    ):
        artifacts.read_facts(place)
