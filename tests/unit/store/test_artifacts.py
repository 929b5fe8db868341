"""Artifacts: what is written comes back equal, a crash leaves the old file, and a changed file is never believed."""

import json
import os
import pickle
import stat
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts, seals
from layerlottery.store.arrays import read_array, write_array
from layerlottery.store.hashing import canonical, derived_seed, digest

FACTS = {
    "accuracy": 97.25,
    "epochs": 3,
    "removed_blocks": ["stage1.1"],
    "note": "θ0",
    "none": None,
    "deep": {"b": [1, 2.5]},
}
TENSORS = {
    "count": np.array(7, dtype=np.int64),
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "empty": np.zeros((0, 3), dtype=np.float32),
}
TABLES = {
    "plain": pa.table({"n": [1, 2, 3], "x": [0.1, -2.5e-9, 1e300], "t": ["a", "θ", ""]}),
    "nulls": pa.table(
        {
            "text": pa.array([None, "a"], pa.string()),
            "real": pa.array([1.5, None], pa.float64()),
            "whole": pa.array([None, None], pa.int64()),
        }
    ),
    "lists": pa.table({"removed_blocks": pa.array([["stage1.1", "stage3.2"], [], None], pa.list_(pa.string()))}),
    "empty": pa.table({"n": pa.array([], pa.int64()), "l": pa.array([], pa.list_(pa.string()))}),
}
MIXED = pa.table(
    {
        "t": ["a", "θ", ""],
        "x": pa.array([0.1, None, 1e300]),
        "removed_blocks": pa.array([["stage1.1"], [], None], pa.list_(pa.string())),
    }
)


def write_array_pair(path):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    path.with_suffix(".hash").write_text(write_array(path, array))


def read_array_pair(path):
    return read_array(path, path.with_suffix(".hash").read_text()).tolist()


def read_tensors_plain(path):
    tensors, facts = artifacts.read_tensors(path)
    return {name: (array.dtype.str, array.tolist()) for name, array in tensors.items()}, facts


def read_table_plain(path):
    table = artifacts.read_table(path)
    assert table.schema.metadata.keys() >= {b"config_hash", b"seal"}
    return table.to_pydict()


KINDS = {
    "facts": (lambda path: artifacts.write_facts(path, FACTS, config_hash="c" * 64), artifacts.read_facts),
    "table": (
        lambda path: artifacts.write_table(path, MIXED, config_hash="c" * 64),
        read_table_plain,
    ),
    "tensors": (
        lambda path: artifacts.write_tensors(path, TENSORS, {"seed": 1}, config_hash="c" * 64),
        read_tensors_plain,
    ),
    "array": (write_array_pair, read_array_pair),
    "page": (
        lambda path: artifacts.write_document(path, "<p>θ0</p>", comment=("<!-- ", " -->"), config_hash="c" * 64),
        lambda path: artifacts.check(path).read_text(encoding="utf-8"),
    ),
}


def read_or_one_line(kind, path):
    """What the file holds, or None after an error that is one line and starts with the file's path."""
    try:
        return KINDS[kind][1](path)
    except LayerLotteryError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return None


@pytest.fixture(params=KINDS)
def artifact(request, tmp_path):
    path = tmp_path / "artifact"
    KINDS[request.param][0](path)
    return request.param, path


def test_facts_round_trip(tmp_path):
    artifacts.write_facts(tmp_path / "facts.json", FACTS, config_hash="made")
    assert artifacts.read_facts(tmp_path / "facts.json") == FACTS | {"config_hash": "made"}


def test_facts_refuse_what_json_has_no_word_for(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        artifacts.write_facts(tmp_path / "facts.json", {"loss": float("nan")}, config_hash="made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", TABLES)
def test_table_round_trip(tmp_path, name):
    artifacts.write_table(tmp_path / "t.parquet", TABLES[name], config_hash="made")
    table = artifacts.read_table(tmp_path / "t.parquet")
    assert table.to_pydict() == TABLES[name].to_pydict()
    assert [field.type for field in table.schema] == [field.type for field in TABLES[name].schema]
    assert table.schema.metadata[b"config_hash"] == b"made"


def test_tensors_round_trip_bit_for_bit(tmp_path):
    content = artifacts.write_tensors(tmp_path / "w", TENSORS, {"seed": 3}, config_hash="made")
    tensors, facts = artifacts.read_tensors(tmp_path / "w")
    assert facts == {"seed": 3, "content": content, "config_hash": "made"}
    assert tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (tensors[name].dtype, tensors[name].tobytes()) == (array.dtype, array.tobytes())


def test_zero_dimensional_tensors_keep_their_value(tmp_path):
    # BatchNorm counts its batches in one
    artifacts.write_tensors(tmp_path / "w", TENSORS, {}, config_hash="made")
    assert artifacts.read_tensors(tmp_path / "w")[0]["count"].item() == 7


@pytest.mark.parametrize(
    "array",
    [np.arange(12, dtype=np.uint8).reshape(3, 4), np.arange(5), np.zeros((0, 1, 8, 8), np.uint8)],
    ids=["uint8", "int64", "empty"],
)
def test_array_round_trip(tmp_path, array):
    content = write_array(tmp_path / "a.npy", array)
    held = read_array(tmp_path / "a.npy", content)
    assert (held.dtype, held.shape, held.tolist()) == (array.dtype, array.shape, array.tolist())


def test_writing_into_a_mapped_array_leaves_the_file(tmp_path):
    content = write_array(tmp_path / "a.npy", np.zeros(4))
    read_array(tmp_path / "a.npy", content)[:] = 1
    assert read_array(tmp_path / "a.npy", content).tolist() == [0, 0, 0, 0]


def test_array_digest_tells_shapes_and_types_apart():
    same_bytes = [np.zeros((2, 3), np.int64), np.zeros((3, 2), np.int64), np.zeros((2, 3), np.float64)]
    assert len({artifacts.array_digest(array) for array in same_bytes}) == 3


def test_equal_content_gives_equal_files(tmp_path, artifact):
    kind, path = artifact
    KINDS[kind][0](tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_key_order_does_not_move_a_hash(tmp_path):
    turned = dict(reversed(FACTS.items()))
    assert digest(turned) == digest(FACTS)
    assert canonical({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'
    tensors = dict(reversed(TENSORS.items()))
    first = artifacts.write_tensors(tmp_path / "1", TENSORS, FACTS, config_hash="x")
    assert artifacts.write_tensors(tmp_path / "2", tensors, turned, config_hash="y") == first


def test_derived_seeds_differ_and_fit_63_bits():
    seeds = {derived_seed(*parts) for parts in [(1, 2), (2, 1), (12,), ("1", 2), ("augment", 0), ("augment", 1)]}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    # a change here would silently change every training
    assert derived_seed("scoring batch", 0) == int(digest(["scoring batch", 0])[:16], 16) >> 1


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text("old")

    def crash():
        with artifacts.atomic(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        crash()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]


def test_the_temporary_stands_in_the_same_folder(tmp_path):
    # a rename is atomic inside one file system only
    path = tmp_path / "deep" / "folder" / "facts.json"
    with artifacts.atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert not path.exists()
        temporary.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_file_mode_follows_the_umask(tmp_path, artifact, mask):
    kind, _ = artifact
    before = os.umask(mask)
    try:
        KINDS[kind][0](tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert artifacts._umask() == before


def test_a_missing_file_is_named(tmp_path, artifact):
    kind, path = artifact
    path.unlink()
    with pytest.raises(LayerLotteryError, match=r"artifact: no such file(; recreate it: snakemake .*)?$"):
        KINDS[kind][1](path)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_changed_byte_is_noticed(artifact, mask):
    kind, path = artifact
    original = path.read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= mask
        path.write_bytes(changed)
        assert read_or_one_line(kind, path) is None, f"byte {position}"


def test_every_truncation_is_refused(artifact):
    kind, path = artifact
    original = path.read_bytes()
    for length in range(len(original)):
        path.write_bytes(original[:length])
        assert read_or_one_line(kind, path) is None, f"{length} bytes"


def test_an_added_byte_is_refused(artifact):
    kind, path = artifact
    path.write_bytes(path.read_bytes() + b"\n")
    assert read_or_one_line(kind, path) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe\x00", b"a,b\n1,2\n", b"PAR1PAR1"])
def test_another_files_content_is_refused(artifact, content):
    kind, path = artifact
    path.write_bytes(content)
    assert read_or_one_line(kind, path) is None


def test_an_artifact_of_another_kind_is_refused(artifact, tmp_path):
    kind, path = artifact
    if kind == "page":  # nothing parses it
        return
    for other in KINDS.keys() - {kind}:
        KINDS[other][0](tmp_path / "other")
        path.write_bytes((tmp_path / "other").read_bytes())
        assert read_or_one_line(kind, path) is None


def test_a_changed_number_is_refused(tmp_path):
    path = tmp_path / "facts.json"
    artifacts.write_facts(path, FACTS, config_hash="made")
    held = json.loads(path.read_text())
    held["facts"]["accuracy"] = 99.0
    path.write_text(json.dumps(held))
    with pytest.raises(LayerLotteryError, match=r"facts\.json: its content does not match its hash$"):
        artifacts.read_facts(path)


def test_a_table_rewritten_elsewhere_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    artifacts.write_table(path, TABLES["plain"], config_hash="made")
    table = artifacts.read_table(path)
    cheated = table.set_column(1, "x", pa.array([0.2, -2.5e-9, 1e300])).replace_schema_metadata(table.schema.metadata)
    pq.write_table(cheated, path)
    with pytest.raises(LayerLotteryError, match="does not match its hash"):
        artifacts.read_table(path)


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_a_pickle_is_refused_and_never_executed(tmp_path, artifact):
    kind, path = artifact
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "executed")))
    assert read_or_one_line(kind, path) is None
    assert not (tmp_path / "executed").exists()


def test_an_npy_file_of_objects_is_refused_and_never_executed(tmp_path):
    path, trace = tmp_path / "a.npy", tmp_path / "executed"
    np.save(path, np.array([Hostile(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(LayerLotteryError, match=r"a\.npy: not a readable npy file"):
        read_array(path, seals.file_digest(path))
    assert not trace.exists()


def test_arrays_of_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_gets_a_second_name_or_a_copy(tmp_path, monkeypatch, links):
    one, other = tmp_path / "one", tmp_path / "folder" / "other"
    artifacts.write_facts(one, FACTS, config_hash="c" * 64)
    if not links:
        monkeypatch.setattr("pathlib.Path.hardlink_to", mock.Mock(side_effect=OSError))
    for _ in range(2):
        artifacts.share(one, other)
        assert other.read_bytes() == one.read_bytes()
        assert one.samefile(other) is links
    assert [path.name for path in other.parent.iterdir()] == ["other"]
    # the second name outlives the first
    one.unlink()
    assert artifacts.read_facts(other)["accuracy"] == FACTS["accuracy"]
