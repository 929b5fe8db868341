"""The command `publish`: one archive of a finished benchmark, the same bytes whenever it is written."""

from __future__ import annotations

import re
import tempfile
import zipfile
from pathlib import Path

from layerlottery.errors import LayerLotteryError
from layerlottery.export.hub import check_name, upload
from layerlottery.export.published import Published
from layerlottery.store.artifacts import atomic
from layerlottery.upkeep.verify import require_good

# the earliest that a zip file can tell
TIME = (1980, 1, 1, 0, 0, 0)
MODE = 0o644
LICENSE = re.compile(r"[A-Za-z0-9.+-]*")


def publish(published: Published, archive: Path | None, hub: str | None = None) -> list[str]:
    """Pack the files of a finished benchmark into a zip file, upload them to the Hub, or both; returns their names.

    Raises LayerLotteryError, and writes nothing, for results that are unfinished, damaged or in use.
    """
    if not LICENSE.fullmatch(published.license):
        raise LayerLotteryError(f"--license: found {published.license!r}; allowed: an SPDX name such as CC-BY-4.0")
    if archive is not None and archive.suffix != ".zip":
        raise LayerLotteryError(f"--output: found {archive.name}; allowed: a name that ends in .zip")
    if archive is not None and archive.resolve().is_relative_to(published.results.resolve()):
        raise LayerLotteryError(f"--output: found {archive}; allowed: a place outside of {published.results}")
    if hub is not None:
        check_name(hub)
    require_good(published.results)
    with tempfile.TemporaryDirectory(prefix="layerlottery-") as held:
        folder = Path(held).resolve()
        try:
            published.write(folder)
        except LayerLotteryError as error:
            # errors name the results, and not a folder that is gone when they are read
            raise LayerLotteryError(str(error).replace(str(folder), str(published.results))) from error
        if archive is not None:
            pack(folder, archive)
        if hub is not None:
            upload(folder, hub, license=published.license)
        return names(folder)


def names(folder: Path) -> list[str]:
    """Every file below a folder, in the order of their names."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def pack(folder: Path, archive: Path) -> None:
    """Write a zip file of a folder that depends on names and bytes alone: fixed order, time and mode."""
    with atomic(archive) as temporary, zipfile.ZipFile(temporary, "w") as packed:
        for name in names(folder):
            member = zipfile.ZipInfo(name, TIME)
            member.external_attr = MODE << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            # on every system, as if it were written on one
            member.create_system = 3
            with packed.open(member, "w") as to:
                to.write((folder / name).read_bytes())
