"""The published corrupted sets of CIFAR, on small files of the same layout. No network but this machine's."""

import logging
import re
import tarfile

import numpy as np
import pytest
from tests.unit import hostile
from tests.unit.data.official_sets import FITTING, SET, files, refused, settings
from tests.unit.data.serving import running
from tests.unit.official_files import IMAGES, LABELS, corrupted, npy, publish, put, set_tar, tar

from layerlottery.data.official import open_corrupted
from layerlottery.data.official_classes import CIFAR100
from layerlottery.data.published import OFFICIAL

NAMES = ["fog", "saturate"]


def opened(location, names=NAMES, *, download=False, **changes):
    return open_corrupted(settings(location, SET, download=download), names, **FITTING | changes)


def check(held, arrays):
    """Each image is the one that stands at severity and row in its file, with channels first."""
    rows = np.array([3, 4, 19])
    for name in NAMES:
        for severity in range(1, 6):
            taken = held.take(name, severity, rows)
            assert (taken.dtype, taken.shape) == (np.uint8, (3, 3, 32, 32))
            for image, row in zip(taken, rows, strict=True):
                published = arrays[name][IMAGES * (severity - 1) + row]
                for channel in range(3):
                    assert np.array_equal(image[channel], published[:, :, channel])
    assert (held.labels.dtype, held.labels.tolist()) == (np.int64, [*range(10), *range(10)])


@pytest.mark.parametrize("place", [SET, "."])
@pytest.mark.parametrize("labels", [np.tile(LABELS, 5), LABELS.astype(np.int32), np.tile(LABELS, 5).astype(np.uint64)])
def test_an_extracted_set_is_read_where_it_is(tmp_path, place, labels):
    arrays = corrupted(*NAMES) | {"labels": labels}
    put(tmp_path / place, arrays)
    before = files(tmp_path)
    check(opened(tmp_path), arrays)
    assert files(tmp_path) == before


def test_images_stay_on_disk(tmp_path):
    put(tmp_path, corrupted(*NAMES))
    assert all(isinstance(array, np.memmap) for array in opened(tmp_path).arrays.values())


@pytest.mark.parametrize("prefix", ["", "./"])
def test_only_what_is_asked_for_leaves_the_tar(tmp_path, monkeypatch, prefix):
    arrays = corrupted(*NAMES, "snow")
    content = tar({f"{prefix}{SET}/{name}.npy": array for name, array in arrays.items()})
    publish(monkeypatch, SET, [content])
    (tmp_path / "CIFAR-10-C.tar").write_bytes(content)
    check(opened(tmp_path), arrays)
    kept = {f"{SET}/{name}.npy": npy(arrays[name]) for name in [*NAMES, "labels"]}
    assert files(tmp_path) == kept | {"CIFAR-10-C.tar": content}
    # and what has left it is used without it
    (tmp_path / "CIFAR-10-C.tar").unlink()
    check(opened(tmp_path), arrays)


def test_what_an_extracted_set_lacks_comes_from_the_tar(tmp_path, monkeypatch):
    arrays, other = corrupted(*NAMES), corrupted(*NAMES, seed=1)
    publish(monkeypatch, SET, [content := set_tar(SET, other)])
    (tmp_path / "CIFAR-10-C.tar").write_bytes(content)
    put(tmp_path / SET, {name: arrays[name] for name in ("fog", "labels")})
    check(opened(tmp_path), arrays | {"saturate": other["saturate"]})
    assert (tmp_path / SET / "fog.npy").read_bytes() == npy(arrays["fog"])


def test_a_tar_is_fetched_and_an_interruption_survived(tmp_path, monkeypatch):
    arrays = corrupted(*NAMES)
    with running() as server:
        server.body = set_tar(SET, arrays)
        publish(monkeypatch, SET, [server.body], server.url)
        server.cuts = [1 << 18]
        monkeypatch.setattr("layerlottery.data.download.time.sleep", lambda _: None)
        check(opened(tmp_path, download=True), arrays)
        assert server.asked == [None, f"bytes={1 << 18}-"]
        check(opened(tmp_path, download=True), arrays)
        assert len(server.asked) == 2
    assert (tmp_path / "CIFAR-10-C.tar").read_bytes() == server.body


def test_nothing_is_fetched_unless_it_is_allowed(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "layerlottery")
    with running() as server:
        server.body = set_tar(SET, corrupted(*NAMES))
        publish(monkeypatch, SET, [server.body], server.url)
        assert opened(tmp_path / "none") is None
        assert server.asked == []
    assert f"{SET} is not in {tmp_path / 'none'}, and official.download is false" in caplog.text
    assert not (tmp_path / "none").exists()


def test_a_set_that_is_not_asked_for_is_not_opened(tmp_path):
    put(tmp_path / SET, corrupted(*NAMES))
    assert open_corrupted(settings(tmp_path, "CIFAR-10.1"), NAMES, **FITTING) is None


@pytest.mark.parametrize("missing", ["saturate", "labels"])
def test_a_set_that_is_there_in_part_is_not_replaced_in_silence(tmp_path, missing):
    put(tmp_path / SET, corrupted(*NAMES))
    (tmp_path / SET / f"{missing}.npy").unlink()
    line = refused(opened, tmp_path)
    assert line.startswith(f"{tmp_path / SET / missing}.npy: no such file, and official.download is false; put ")
    assert "CIFAR-10-C.tar of https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1 into" in line


@pytest.mark.parametrize("change", [lambda tar: tar[:-20_000], lambda tar: tar[:600] + b"x" + tar[601:]])
@pytest.mark.parametrize("download", [False, True])
def test_another_tar_is_named_and_nothing_good_is_touched(tmp_path, monkeypatch, change, download):
    arrays = corrupted(*NAMES)
    content = set_tar(SET, arrays)
    publish(monkeypatch, SET, [content])
    (tmp_path / "CIFAR-10-C.tar").write_bytes(change(content))
    put(tmp_path / SET, {"fog": arrays["fog"], "labels": arrays["labels"]})
    before = files(tmp_path)
    line = refused(opened, tmp_path, download=download)
    assert re.match(rf"{tmp_path}/CIFAR-10-C.tar: MD5 \w+ found, expected \w+; delete it, or put ", line)
    assert files(tmp_path) == before


def test_a_wrong_download_leaves_the_good_files_alone(tmp_path, monkeypatch):
    arrays = corrupted(*NAMES)
    put(tmp_path / SET, {"fog": arrays["fog"], "labels": arrays["labels"]})
    before = files(tmp_path)
    with running() as server:
        publish(monkeypatch, SET, [set_tar(SET, arrays)], server.url)
        server.body = b"<html>please log in</html>"
        assert "MD5" in refused(opened, tmp_path, download=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        (f"{SET}/fog.npy", (tarfile.SYMTYPE, "/etc/passwd"), "no file"),
        (f"{SET}/fog.npy", (tarfile.LNKTYPE, f"{SET}/labels.npy"), "no file"),
        (f"{SET}/fog.npy", (tarfile.DIRTYPE, ""), "no file"),
        (f"/{SET}/fog.npy", b"x", "missing"),
        (f"../{SET}/fog.npy", b"x", "missing"),
        (f"{SET}/../fog.npy", b"x", "missing"),
        (f"{SET}/../{SET}/fog.npy", b"x", "missing"),
        (f"{SET}/deep/fog.npy", b"x", "missing"),
    ],
)
def test_a_member_that_is_no_plain_file_in_its_place_is_refused(tmp_path, monkeypatch, name, content, what):
    arrays = corrupted(*NAMES)
    others = {f"{SET}/{file}.npy": arrays[file] for file in ("saturate", "labels")}
    whole = tar({name: content} | others)
    publish(monkeypatch, SET, [whole])
    location = tmp_path / "set"
    location.mkdir()
    (location / "CIFAR-10-C.tar").write_bytes(whole)
    assert refused(opened, location) == f"{location}/CIFAR-10-C.tar: {SET}/fog.npy is {what} in it"
    assert set(files(tmp_path)) <= {"set/CIFAR-10-C.tar", f"set/{SET}/labels.npy", f"set/{SET}/saturate.npy"}


def test_what_is_no_tar_is_one_line(tmp_path, monkeypatch):
    publish(monkeypatch, SET, [b"no tar" * 1000])
    (tmp_path / "CIFAR-10-C.tar").write_bytes(b"no tar" * 1000)
    assert refused(opened, tmp_path) == f"{tmp_path}/CIFAR-10-C.tar: not a readable tar (ReadError)"


@pytest.mark.parametrize("file", ["fog", "labels"])
def test_hostile_arrays_are_one_line_and_run_nothing(tmp_path, file):
    marker = tmp_path / "marker"
    put(tmp_path / SET, corrupted(*NAMES))
    path = tmp_path / SET / f"{file}.npy"
    for name, content in hostile.arrays(marker).items():
        path.write_bytes(content)
        assert refused(opened, tmp_path).startswith(f"{path}: "), name
        assert not marker.exists(), name


PIXELS = corrupted("fog")["fog"]


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("fog", PIXELS.astype(np.int16), r"int16 \(100, 32, 32, 3\) found, allowed: uint8 \(images, 32, 32, 3\)"),
        ("fog", PIXELS.transpose(0, 3, 1, 2), r"uint8 \(100, 3, 32, 32\) found"),
        ("fog", PIXELS[0, 0, 0, 0], r"uint8 \(\) found"),
        ("fog", PIXELS[:0], r"uint8 \(0, 32, 32, 3\) found"),
        ("fog", PIXELS[:99], "99 images found, allowed: 5 times as many as tested"),
        ("saturate", PIXELS[:95], "95 images found, allowed: 100, as many as in the others"),
        ("fog", npy(PIXELS)[:-1], r"not a readable npy file of numbers \(ValueError\)"),
        ("labels", np.tile(LABELS, 5).astype(float), r"float64 \(100,\) found, allowed: one integer an image"),
        ("labels", LABELS[:, None], r"uint8 \(20, 1\) found"),
        ("labels", LABELS[:19], "19 labels found, allowed: 100 or 20"),
        ("labels", np.tile(LABELS, 2), "40 labels found"),
        ("labels", np.where(LABELS == 9, 10, LABELS), "label 10 found, allowed: 0 to 9"),
        ("labels", LABELS.astype(np.int8) - 1, "label -1 found, allowed: 0 to 9"),
        ("labels", np.full(20, 2**63, dtype=np.uint64), "label 9223372036854775808 found"),
        ("labels", np.concatenate([np.tile(LABELS, 4), LABELS[::-1]]), "labels differ between severities"),
    ],
)
def test_arrays_of_another_form_are_named(tmp_path, file, array, message):
    put(tmp_path / SET, corrupted(*NAMES) | {file: array})
    assert re.match(f"{tmp_path / SET / file}.npy: {message}", refused(opened, tmp_path))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            SET,
            {"classes": CIFAR100},
            "10 classes, 3 channels, 32x32 pixels; this one is of 100 classes, 3 channels, 32x32",
        ),
        ("CIFAR-100-C", {}, "100 classes, 3 channels, 32x32 pixels; this one is of 10 classes, 3 channels, 32x32"),
        (SET, {"channels": 1}, "10 classes, 3 channels, 32x32 pixels; this one is of 10 classes, 1 channel, 32x32"),
        (SET, {"image_size": 16}, "10 classes, 3 channels, 32x32 pixels; this one is of 10 classes, 3 channels, 16x16"),
    ],
)
def test_a_set_of_other_images_is_refused(tmp_path, name, changes, message):
    for sets in ([name], [SET, name]):
        line = refused(open_corrupted, settings(tmp_path, *sets), NAMES, **FITTING | changes)
        assert line == f"official.sets: {name} belongs to a set of {message} pixels"


def test_cifar_100_c_is_a_set_of_its_own(tmp_path):
    arrays = corrupted(*NAMES)
    put(tmp_path / "CIFAR-100-C", arrays)
    check(open_corrupted(settings(tmp_path, "CIFAR-100-C"), NAMES, **FITTING | {"classes": CIFAR100}), arrays)


# what is published


def test_the_sizes_are_those_of_the_layouts():
    header, tar_block = 128, 10_240
    data, labels = OFFICIAL["CIFAR-10.1"].values()
    assert (data.size, labels.size) == (2000 * 32 * 32 * 3 + header, 2000 * 4 + header)
    archive = OFFICIAL[SET]["CIFAR-10-C.tar"].size
    assert archive % tar_block == 0
    assert 0 < archive - 19 * 50_000 * 32 * 32 * 3 - 50_000 < 19 * 2048 + 2 * tar_block


def test_every_published_file_is_vouched_for():
    for held in OFFICIAL.values():
        for file in held.values():
            assert file.url.startswith("https://")
            assert re.fullmatch("[0-9a-f]{64}", file.sha256 or "") or re.fullmatch("[0-9a-f]{32}", file.md5)
