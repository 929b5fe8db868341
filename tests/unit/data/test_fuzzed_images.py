"""Images and Parquet files of all kinds, made at random: read as Pillow reads them, or refused in one line."""

import contextlib
import io
import json
import tempfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image, ImageOps

from layerlottery.config.data import ImageFolder, ParquetImages
from layerlottery.data.folder import load_folder
from layerlottery.data.parquet import load_parquet
from layerlottery.data.pixels import Form, decode
from layerlottery.errors import LayerLotteryError

# the same inputs in every run
fuzzed = partial(
    settings,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "LAB", "HSV", "PA", "RGBa"]
KINDS = ["PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "TGA", "ICO", "JPEG2000", "EPS", "PDF"]


def made(kind, mode, size, seed):
    """An encoded image; empty where the format knows no such mode."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image, sink = Image.fromarray(pixels), io.BytesIO()
    try:
        image = image.convert("L").convert(mode) if mode in ("I", "I;16", "F") else _converted(image, mode)
        image.save(sink, kind)
    except (OSError, ValueError, KeyError):
        return b""
    return sink.getvalue()


def _converted(image, mode):
    between = {"PA": "RGBA", "RGBa": "RGBA"}.get(mode)
    return (image.convert(between) if between else image).convert(mode)


def damaged(content, cut, places):
    held = bytearray(content[: int(len(content) * cut)])
    for place, value in places if held else ():
        held[place % len(held)] = value
    return bytes(held)


sides = some.integers(1, 12)
seeds = some.integers(0, 3)
whole = some.builds(made, some.sampled_from(KINDS), some.sampled_from(MODES), some.tuples(sides, sides), seeds)
flips = some.lists(some.tuples(some.integers(0, 2000), some.integers(0, 255)), max_size=4)
cuts = some.just(1.0) | some.floats(0, 1)
contents = some.binary(max_size=40) | whole | some.builds(damaged, whole, cuts, flips)
forms = some.builds(Form, some.none() | some.just(8), some.sampled_from([1, 3]), some.sampled_from(["stretch", "crop"]))


def refused(action):
    """What an action returns, or None where it is refused in one line; anything else goes up."""
    try:
        return action()
    except LayerLotteryError as error:
        line = str(error)
    assert line
    assert len(line.splitlines()) == 1
    return None


def as_pillow_reads(content, form):
    """Pixels (C, H, W)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(content))
        image.load()
        image = ImageOps.exif_transpose(image).convert("L" if form.channels == 1 else "RGB")
    if form.image_size and form.fit == "stretch":
        image = image.resize((form.image_size, form.image_size), Image.Resampling.BILINEAR)
    elif form.image_size:
        image = ImageOps.fit(image, (form.image_size, form.image_size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, form.channels).transpose(2, 0, 1)


@fuzzed(max_examples=600)
@given(contents, forms)
def test_an_image_is_read_as_pillow_reads_it_or_refused(content, form):
    found = refused(lambda: decode(content, form, "one"))
    if found is None:
        return
    assert found.dtype == np.uint8
    if form.fit == "stretch" or form.image_size is None:
        assert np.array_equal(found, as_pillow_reads(content, form))
    else:
        assert found.shape == (form.channels, form.image_size, form.image_size)


@fuzzed(max_examples=100)
@given(
    some.sampled_from(KINDS[:8]), some.sampled_from(["1", "L", "P", "RGB"]), some.integers(1, 30), some.integers(0, 9)
)
def test_whole_images_of_the_usual_kinds_are_read(kind, mode, side, seed):
    if content := made(kind, mode, (side, side), seed):
        form = Form(None, 3)
        assert np.array_equal(decode(content, form, "one"), as_pillow_reads(content, form))


# Parquet

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def image_column(form, held):
    """The images in a column of some form, of which only some are allowed."""
    structs = [{"bytes": one, "path": "x.png"} for one in held]
    ways = {
        "struct": lambda: pa.array(structs, STRUCT),
        "large": lambda: pa.array(structs, pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])),
        "more fields": lambda: pa.array(structs, pa.struct([*STRUCT, ("size", pa.int64())])),
        "null rows": lambda: pa.array([None, *structs[1:]][: len(held)], STRUCT),
        "no bytes": lambda: pa.array([{"path": "x.png"} for _ in held], pa.struct([("path", pa.string())])),
        "text": lambda: pa.array([{"bytes": one.hex()} for one in held], pa.struct([("bytes", pa.string())])),
        "numbers": lambda: pa.array([{"bytes": [*one]} for one in held], pa.struct([("bytes", pa.list_(pa.uint8()))])),
        "nested": lambda: pa.array([{"bytes": {"bytes": one}} for one in held]),
        "plain": lambda: pa.array(held, pa.binary()),
        "list": lambda: pa.array([[one] for one in structs], pa.list_(STRUCT)),
        "nothing": lambda: pa.nulls(len(held)),
    }
    return ways[form]()


IMAGE_FORMS = [
    *(
        "struct",
        "large",
        "more fields",
        "null rows",
        "no bytes",
        "text",
        "numbers",
        "nested",
        "plain",
        "list",
        "nothing",
    )
]
LABEL_FORMS = {
    **{str(kind): kind for kind in (pa.int64(), pa.int8(), pa.uint64(), pa.float64(), pa.string(), pa.large_string())},
    **{str(kind): kind for kind in (pa.bool_(), pa.list_(pa.int64()), pa.null(), pa.decimal128(20), pa.date32())},
    "dictionary": pa.dictionary(pa.int8(), pa.int64()),
    "dictionary of texts": pa.dictionary(pa.int8(), pa.string()),
}


def label_column(form, labels):
    kind = LABEL_FORMS[form]
    if pa.types.is_dictionary(kind):
        return pa.array(labels).cast(kind.value_type).dictionary_encode()
    if pa.types.is_list(kind):
        return pa.array([[one] for one in labels], kind)
    if pa.types.is_null(kind):
        return pa.nulls(len(labels))
    return pa.array(labels).cast(pa.int32()).cast(kind) if kind == pa.date32() else pa.array(labels).cast(kind)


good = some.builds(made, some.just("PNG"), some.sampled_from(["L", "RGB"]), some.just((8, 8)), some.integers(0, 9))
tables = some.fixed_dictionaries(
    {
        "images": some.lists(good, max_size=5) | some.lists(good | contents, max_size=3),
        "image_form": some.just("struct") | some.sampled_from(IMAGE_FORMS),
        "labels": some.lists(some.integers(0, 3), min_size=5, max_size=5),
        "missing": some.none() | some.integers(0, 4),
        "label_form": some.just("int64") | some.sampled_from([*LABEL_FORMS]),
        "columns": some.just(["image", "label"])
        | some.lists(some.sampled_from(["image", "img", "label", "fine_label"])),
        "names": some.none() | some.lists(some.sampled_from(["ant", "bee", "", "cow"]), max_size=4),
    }
)


def write(path, images, image_form, labels, missing, label_form, columns, names):
    """Such a file, whose labels have these class names if they are in a column label."""
    labels = [None if row == missing else label for row, label in enumerate(labels[: len(images)])]
    made_of = {"im": image_column(image_form, images), "la": label_column(label_form, labels)}
    table = pa.Table.from_arrays([made_of["la" if "la" in name else "im"] for name in columns], names=columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=2)


def load(folder, kind, **changes):
    """All images of a set and their labels, decoded."""
    held = {"parquet": load_parquet, "folder": load_folder}[kind](
        MODELS[kind](source=kind, location=str(folder), **changes)
    )
    return held.classes, held.train.images, held.train.labels.tolist()


MODELS = {"parquet": ParquetImages, "folder": ImageFolder}


@fuzzed(max_examples=150)
@given(tables, some.none() | some.just(8))
def test_a_table_is_read_or_refused(tmp_path_factory, table, size):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    for part in ("train", "test"):
        write(folder / f"{part}.parquet", **table)
    if (found := refused(lambda: load(folder, "parquet", image_size=size))) is None:
        return
    classes, images, labels = found
    form = Form(size, images.shape[1])
    assert all(
        np.array_equal(image, as_pillow_reads(one, form)) for image, one in zip(images, table["images"], strict=True)
    )
    named = table["names"] if "label" in table["columns"] else None
    names = named or [str(label) for label in range(4)]
    assert [classes[label] for label in labels] == [names[label] for label in table["labels"][: len(labels)]]


@fuzzed(max_examples=150)
@given(some.floats(0, 1) | some.just(1.0), flips)
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path_factory, cut, places):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    table = pa.table(
        {
            "image": image_column("struct", [made("PNG", "RGB", (8, 8), seed) for seed in range(4)]),
            "label": [0, 1, 0, 1],
        }
    )
    pq.write_table(table, folder / "test.parquet")
    content = (folder / "test.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(damaged(content, cut, places))
    refused(lambda: load(folder, "parquet"))


names = some.text(some.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8)
suffixes = some.sampled_from([".png", ".JPG", ".jfif", ".tga", ".txt", "", ".heic", ".webp"])


@fuzzed(max_examples=60)
@given(some.lists(some.tuples(names, suffixes, good | contents), max_size=5), some.booleans())
def test_a_folder_of_any_names_is_read_or_refused(tmp_path_factory, files, strict):
    folder = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    for part in ("train", "test"):
        for label in ("ant", "bee"):
            (folder / part / label).mkdir(parents=True)
            (folder / part / label / "1.png").write_bytes(made("PNG", "RGB", (8, 8), 0))
    for name, suffix, content in files:
        with contextlib.suppress(OSError):
            (folder / "train/ant" / f"{name}{suffix}").write_bytes(content)
    found = refused(lambda: load(folder, "folder", strict=strict))
    assert found is None or found[2].count(1) == 1
