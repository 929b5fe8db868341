"""Published files on the Hugging Face Hub, as a data set repository: its viewer shows the tables.

Who uploads is known to the Hub's own client (`hf auth login`, or HF_TOKEN): nothing here asks for it or shows it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from layerlottery import paths
from layerlottery.errors import LayerLotteryError

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
CARD = "README.md"


def check_name(name: str) -> None:
    """Raise LayerLotteryError for what is no repository's name, and where the Hub's client is not installed."""
    if not NAME.fullmatch(name):
        raise LayerLotteryError(f"--hub: found {name!r}; allowed: OWNER/NAME")
    _client()


def upload(folder: Path, name: str, *, license: str = "") -> None:
    """Upload a folder to a repository, which is created if it is missing, as one commit.

    Raises LayerLotteryError for whatever the Hub refuses.
    """
    from huggingface_hub.errors import HfHubHTTPError

    card = folder / CARD
    plain = card.read_text(encoding="utf-8")
    try:
        # the Hub reads these lines, and a reader of the archive need not
        card.write_text(f"{front_matter(license)}\n{plain}", encoding="utf-8")
        client = _client()
        client.create_repo(repo_id=name, repo_type="dataset", exist_ok=True)
        client.upload_folder(
            folder_path=folder, repo_id=name, repo_type="dataset", commit_message="Results of layerlottery"
        )
    except (HfHubHTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"the Hub answered {status}" if status else f"{type(error).__name__}"
        hint = "; log in first: hf auth login" if status in (401, 403) else ""
        raise LayerLotteryError(f"--hub {name}: not uploaded: {reason}{hint}") from None
    finally:
        card.write_text(plain, encoding="utf-8")


def front_matter(license: str) -> str:
    """The first lines of a card, which tell the Hub's viewer where each table lies."""
    lines = ["---", *([f"license: {license.lower()}"] if license else []), "tags:", "- pruning", "configs:"]
    for table in paths.TABLES:
        lines += [f"- config_name: {table}", f"  data_files: tables/{table}.parquet"]
    return "\n".join([*lines, "---"])


def _client() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise LayerLotteryError("--hub: needs a package: pip install 'layerlottery[publish]'") from None
    return HfApi()
