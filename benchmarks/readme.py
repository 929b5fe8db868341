"""`make readme`: the picture of README and the summary of docs/first_hour.md, and the tables behind them, from one run.

Run `make demo` first. Copies the tables runs and summary to docs/demo, writes what `layerlottery summary` says of them
between the page's two marks, and takes the first screen of the report with a headless Chromium. The picture names the
tables that it belongs to; a test compares all three.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from layerlottery.report.text import summary_text

HERE = Path(__file__).parents[1]
DEMO, PICTURE = HERE / "docs" / "demo", HERE / "docs" / "images" / "report.png"
PAGE = HERE / "docs" / "first_hour.md"
BEGIN, END = "<!-- what make readme writes -->", "<!-- so far -->"
KEPT = ("runs", "summary")
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
CHROMIUM += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def block(tables: Path) -> str:
    """The summary in a code block, and where it was run."""
    runs = pd.read_parquet(DEMO / "tables" / "runs.parquet")
    began, ended = (pd.to_datetime(runs[name]) for name in ("started", "ended"))
    minutes = (ended.max() - began.min()).total_seconds() / 60
    device = ", ".join(runs["device"].unique())
    said = f"{len(runs)} networks on {device}, {began.min():%Y-%m-%d}, {os.cpu_count()} jobs at once; {minutes:.1f} "
    return f"```text\n{summary_text(tables)}\n```\n\n{said}minutes from the first training to the last."


def written(page: str, text: str) -> str:
    """The page with this text between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}"


def tables_hash() -> str:
    """What picture and tables are known by."""
    held = [(DEMO / "tables" / f"{name}.parquet").read_bytes() for name in KEPT]
    return hashlib.sha256(b"".join(held)).hexdigest()


def take(page: Path) -> None:
    """The first screen of the report, 1440 pixels wide."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = [f"--user-data-dir={folder}/profile", "--window-size=1440,1000", f"--screenshot={shot}"]
        subprocess.run(["chromium", *CHROMIUM, *options, page.absolute().as_uri()], check=True, capture_output=True)
        image, facts = Image.open(shot).convert("P", palette=Image.Palette.ADAPTIVE), PngInfo()
        facts.add_text("tables", tables_hash())
        image.save(PICTURE, optimize=True, pnginfo=facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    results = parser.parse_args().results
    (DEMO / "tables").mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copy(results / "tables" / f"{name}.parquet", DEMO / "tables")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), block(results / "tables")), encoding="utf-8")
    take(results / "report" / "index.html")


if __name__ == "__main__":
    main()
