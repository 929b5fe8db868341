"""Small Parquet sets, written here."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.unit.data.decoded import whole

from layerlottery.config.data import ParquetImages
from layerlottery.data.parquet import load_parquet

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


def png(pixels):
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def write(path, images=PIXELS, labels=LABELS, names=None, group=4, image="image", label="label", **more):
    """A file of two columns; `more` are others, names and all."""
    encoded = [{"bytes": one if isinstance(one, bytes) else png(one), "path": None} for one in images]
    held = pa.array(encoded, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({image: held, label: pa.array(labels)} | {name: pa.array(one) for name, (one, _) in more.items()})
    if names:
        named = {label: names} | {name: its_names for name, (_, its_names) in more.items()}
        columns = {name: {"names": its_names, "_type": "ClassLabel"} for name, its_names in named.items()}
        features = {"info": {"features": {image: {"_type": "Image"}} | columns}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=group)


@pytest.fixture
def place(tmp_path):
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", PIXELS[:2], [2, 0])
    return tmp_path


def load(place, **changes):
    """The whole set, decoded."""
    return whole(load_parquet(ParquetImages(source="parquet", location=str(place), **changes)))
