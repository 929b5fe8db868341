"""Single images, against what Pillow and plain array operations make of them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from layerlottery.data.pixels import Form, decode
from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError

PIXELS = np.random.default_rng(8).integers(0, 256, (12, 12, 3), dtype=np.uint8)
COLOUR = Form(None, 3)
# how an upright image is stored by a camera held in this way: the inverse of what a viewer does
STORED = {
    1: lambda shown: shown,
    2: lambda shown: shown[:, ::-1],
    3: lambda shown: shown[::-1, ::-1],
    4: lambda shown: shown[::-1],
    5: lambda shown: shown.transpose(1, 0, 2),
    6: lambda shown: np.rot90(shown, 1),
    7: lambda shown: shown[::-1, ::-1].transpose(1, 0, 2),
    8: lambda shown: np.rot90(shown, -1),
}


def encoded(image, kind="PNG", **how):
    sink = io.BytesIO()
    image.save(sink, kind, **how)
    return sink.getvalue()


def read(content, form=COLOUR):
    """Pixels (H, W, C) and what was lost."""
    remarks = Remarks()
    return decode(content, form, "one", remarks).transpose(1, 2, 0), [*remarks.counts]


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("kind", "how"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_photographs_stand_upright(orientation, kind, how):
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PIXELS)))
    shown, lost = read(encoded(stored, kind, exif=tags, **how))
    assert np.array_equal(shown, PIXELS)
    assert lost == []


def test_a_crop_is_taken_from_the_upright_image():
    shown = np.zeros((20, 10, 3), np.uint8)
    shown[:10] = 255
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 8
    content = encoded(Image.fromarray(np.ascontiguousarray(STORED[8](shown))), exif=tags)
    found, _ = read(content, Form(8, 3, "crop"))
    assert found[:3].min() > 200
    assert found[5:].max() < 60


@pytest.mark.parametrize(
    "broken", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff"]
)
def test_broken_tags_turn_nothing(broken):
    content = encoded(Image.fromarray(PIXELS), "JPEG", exif=broken)
    assert np.array_equal(read(content)[0], np.asarray(Image.open(io.BytesIO(content))))


def transparent(mode):
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putalpha(Image.fromarray(PIXELS[..., 0]))
    return image.convert(mode)


def opaque():
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putalpha(255)
    return image


def frames(kind, **how):
    first, *others = (Image.fromarray(np.roll(PIXELS, by, 0)) for by in range(3))
    return encoded(first, kind, save_all=True, append_images=others, **how)


NO_ALPHA, ONE_FRAME = ["read without transparency"], ["read without the frames after the first"]
LOSING = {
    "RGBA": (encoded(transparent("RGBA")), NO_ALPHA),
    "LA": (encoded(transparent("LA")), NO_ALPHA),
    "an alpha of 255": (encoded(opaque()), []),
    "a transparent colour": (encoded(Image.fromarray(PIXELS), transparency=tuple(PIXELS[0, 0].tolist())), NO_ALPHA),
    "a colour that nothing has": (encoded(Image.new("RGB", (8, 8)), transparency=(1, 2, 3)), []),
    "a palette": (encoded(Image.fromarray(PIXELS).quantize(9)), []),
    "a palette with gaps": (encoded(Image.fromarray(PIXELS).quantize(9), transparency=0), NO_ALPHA),
    "GIF": (frames("GIF"), ONE_FRAME),
    "APNG": (frames("PNG"), ONE_FRAME),
    "WEBP": (frames("WEBP", lossless=True), ONE_FRAME),
    "TIFF": (frames("TIFF"), ONE_FRAME),
    "one frame": (encoded(Image.fromarray(PIXELS), "GIF"), []),
    "MPO": (frames("MPO", quality=100), []),
    "CMYK": (encoded(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"), []),
    "bits": (encoded(Image.fromarray(PIXELS).convert("1")), []),
}


@pytest.mark.parametrize(("content", "lost"), LOSING.values(), ids=LOSING)
def test_what_is_lost_is_said_and_nothing_else_changes(content, lost):
    pixels, found = read(content)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert found == lost
    if lost:
        with pytest.raises(LayerLotteryError, match=f"^one: {lost[0]}; strict allows only"):
            decode(content, COLOUR, "one", Remarks(strict=True))


@pytest.mark.parametrize("part", [0.5, 0.8, 0.97])
@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_frames_that_are_broken_do_no_harm_to_the_first(kind, part):
    whole = frames(kind)
    content = whole[: int(len(whole) * part)]
    pixels, lost = read(content)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert lost == ONE_FRAME


def deep_png(kind, channels):
    """A PNG of 16 bits a channel, which Pillow doesn't write, and its upper bytes."""
    values = np.random.default_rng(3).integers(0, 1 << 16, (8, 8, channels)).astype(">u2")
    if channels in (2, 4):
        values[..., -1] = (1 << 16) - 1
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, held in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        content += struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held))
    return content, (values >> 8).astype(np.uint8)


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bits_a_channel_lose_the_lower_ones_with_a_remark(kind, channels):
    content, upper = deep_png(kind, channels)
    pixels, lost = read(content)
    assert np.array_equal(pixels, upper[..., :3] if channels > 2 else np.repeat(upper[..., :1], 3, axis=2))
    assert lost == ["read with 8 of 16 bits a channel"]


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_grey_are_refused(channels):
    deep = Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16))
    for kind in ("PNG", "TIFF"):
        with pytest.raises(LayerLotteryError, match="its pixels are of mode I;16"):
            read(encoded(deep, kind), Form(None, channels))
