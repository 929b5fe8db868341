"""Files that a stranger might hand over, by what they abuse. Each one that is parsed unguarded would leave a mark."""

import contextlib
import hashlib
import io
import json
import pickle
import re
import struct
import sys
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from layerlottery.cli.main import main
from layerlottery.store import seals

HUGE = 2**60
# readers of the project's own files look for a seal first; with a right one the parser gets to see the rest
SEAL = seals.BLANK.encode()


# a name from a stranger's file, for every reader of it: HTML, SVG, CSS, LaTeX, Markdown, a terminal
TEXT = (
    """x"><img src=x onerror=alert(1)>' onmouseover='alert(2)<script>alert(3)</script>]]>--></title></style></svg>"""
    "<a href=javascript:alert(4)>url(https://evil.example) #fe01ff {color:red} "
    r"\input{/etc/passwd}\write18{id}$\frac{1}^^M%&~\\[1cm]* "
    "[l](https://evil.example)![i](https://evil.example)[r]: https://evil.example www.evil.example `c` **b** |x|"
    "\n\n# h\n[r]: https://evil.example\r\x1b[2J\x1b]0;t\x07\x9b31m\u202egnp.exe\u2066\u200b\x00\x7f\x85\u2028"
)


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def pickles(marker):
    """The ways in which a pickle lies in a file."""
    zipped, array = io.BytesIO(), io.BytesIO()
    torch.save(Bomb(marker), zipped)
    np.save(array, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    return {
        "pickle": pickle.dumps(Bomb(marker)),
        "old pickle": pickle.dumps(Bomb(marker), protocol=0),
        "torch.save": zipped.getvalue(),
        "object npy": array.getvalue(),
    }


def safetensors(marker):
    """Headers that lie, and pickles in their place."""
    claim = {"w": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}
    far = {"w": {"dtype": "F32", "shape": [4], "data_offsets": [HUGE, HUGE + 16]}}
    deep = b'{"__metadata__":' + b"[" * 100_000
    facts = [_tensors_with(facts) for facts in ("[" * 100_000, "[1, 2]", "null", "9" * 10_000, "{}")]
    return {
        **pickles(marker),
        "header length": struct.pack("<Q", 2**63 - 1) + b"{}" + SEAL,
        "claimed shape": _tensors(claim),
        "claimed place": _tensors(far),
        "deep header": struct.pack("<Q", len(deep)) + deep + SEAL,
        **{f"facts {i}": content for i, content in enumerate(facts)},
    }


def _tensors_with(facts):
    return _tensors({}, f', "config_hash": "0", "facts": {facts}')


def _tensors(header, stamp=""):
    stamp = f'{{"seal":"{seals.BLANK}"{stamp}}}'
    text = json.dumps({"__metadata__": {"layerlottery": stamp}} | header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text


def documents(marker):
    """JSON that exhausts its parser, or holds something else."""
    deep, head = b"[" * 100_000, b'{\n "artifact": {\n  "seal": "%s"' % SEAL
    return {
        **pickles(marker),
        "deep": head + b', "config_hash": "0"}, "facts": %s\n}\n' % deep,
        "digits": head + b', "config_hash": "0"}, "facts": %s\n}\n' % (b"9" * 100_000),
        "list": b'["%s"]' % SEAL,
        "other facts": head + b', "config_hash": "0"}, "facts": [1, 2]\n}\n',
        "other inputs": head + b', "config_hash": "0", "inputs": [1, 2]}, "facts": {}\n}\n',
        "no hash": head + b'}, "facts": {}\n}\n',
    }


def arrays(marker):
    """npy headers are Python text."""
    return {
        **pickles(marker),
        "claimed shape": _npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({HUGE},), }}"),
        "negative shape": _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-8,), }"),
        "code": _npy(f"{{'descr': open({str(marker)!r}, 'w'), 'fortran_order': False, 'shape': (1,), }}"),
        "deep header": _npy("(" * 5_000),
        "header length": b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**32 - 1) + b"{}",
    }


def _npy(header):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text


def tables(marker, table):
    """Parquet whose footer lies about `table`, or brings Python objects along."""
    whole = _parquet(table)
    rows = varint(2 * table.num_rows)
    claim = whole[: -8 - footer_length(whole)] + footer(whole).replace(rows, varint(2 * HUGE))
    named = {b"ARROW:extension:name": b"arrow.py_extension_type"}
    named[b"ARROW:extension:metadata"] = pickle.dumps(Bomb(marker), protocol=0)
    fields = [field.with_metadata(named) for field in table.schema]
    return {
        **pickles(marker),
        "claimed rows": _ended(claim, len(claim) - (len(whole) - 8 - footer_length(whole))),
        "footer length": whole[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1",
        "footer": whole[: -8 - footer_length(whole)] + bytes(footer_length(whole)) + whole[-8:],
        "python type": _parquet(table.cast(pa.schema(fields))),
    }


def _parquet(table):
    target = io.BytesIO()
    with pq.ParquetWriter(target, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"config_hash": "0", "seal": seals.BLANK})
    return target.getvalue()


def footer_length(parquet):
    return struct.unpack("<I", parquet[-8:-4])[0]


def footer(parquet):
    return parquet[-8 - footer_length(parquet) : -8]


def _ended(body, length):
    return body + struct.pack("<I", length) + b"PAR1"


def varint(number):
    """An unsigned integer as Thrift's compact protocol writes it."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def images(marker):
    """Images that claim a size, and formats that Pillow would hand to another program."""
    script = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n({marker}) (w) file closefile\n%%EOF\n"
    return {
        **pickles(marker),
        "bomb": png(60_000, 60_000),
        "large": png(10_000, 10_000),
        "flat": png(2**31 - 1, 1),
        "postscript": script.encode(),
    }


def png(width, height):
    """A PNG of a few hundred bytes that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def plant(path, content):
    """Write a hostile file, with a right seal where it has a place for one; returns its SHA-256."""
    if SEAL in content:
        # wherever it stands, for files of earlier versions are read
        seal = seals.MARK + hashlib.sha256(content).hexdigest()
        content = content.replace(SEAL, seal.encode(), 1)
    path.write_bytes(content)
    return seals.file_digest(path)


# commands that read such files


@pytest.fixture
def marker(tmp_path):
    """What a pickle or a program that ran would leave."""
    return tmp_path / "marker"


@contextlib.contextmanager
def replaced(path, content):
    """A hostile file in the place of a good one."""
    path = Path(path)
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield plant(path, content)
    finally:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(before)


def call(words):
    """A command in this process, without its log: its exit status and what it printed on stderr."""
    out, err = io.StringIO(), io.StringIO()
    words = [word for word in words if word != "--log" and not word.endswith(".log")]
    with mock.patch.object(sys, "argv", words), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            return 0, err.getvalue()
        except SystemExit as done:
            return done.code or 0, err.getvalue()


def refusal(words, path):
    """What is wrong with a command's answer to a hostile file; nothing when it is one line that names it."""
    status, err = call(words)
    # beside progress lines, and torch's warning of a GPU that it misses
    lines = [line for line in err.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d |W\d{4} ", line)]
    if status == 1 and len(lines) == 1 and lines[0].startswith(f"layerlottery: {path}"):
        return None
    return f"{words[1]} with {path}: exit {status}: {err[-600:]}"


def problems(words, path, payloads, marker):
    """Answers to hostile files that are not one line, and marks that one of them left."""
    found = []
    for name, content in payloads.items():
        with replaced(path, content):
            found.append((name, refusal(words, path)))
        if marker.exists():
            found.append((name, "ran code"))
            marker.unlink()
    return [one for one in found if one[1]]


def worse(value):
    """The same value with hostile text in every string, at any depth."""
    if isinstance(value, dict):
        return {key: worse(one) for key, one in value.items()}
    if isinstance(value, list):
        return [worse(one) for one in value]
    return value + TEXT if isinstance(value, str) else value
