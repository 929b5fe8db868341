"""Uploading to the Hub, with a client that only notes what it is asked; nothing here reaches a network."""

import sys

import httpx
import pytest
import yaml
from huggingface_hub.errors import HfHubHTTPError

from layerlottery import paths
from layerlottery.errors import LayerLotteryError
from layerlottery.export import hub

SECRET = "hf_secret"  # noqa: S105 - of nobody


class Client:
    """What `huggingface_hub.HfApi` is asked for."""

    def __init__(self, status=None):
        self.calls, self.status = [], status

    def create_repo(self, **given):
        self.calls.append(("create_repo", given))
        if self.status:
            request = httpx.Request("POST", "https://example.org", headers={"authorization": f"Bearer {SECRET}"})
            raise HfHubHTTPError(f"refused {SECRET}", response=httpx.Response(self.status, request=request))

    def upload_folder(self, *, folder_path, **given):
        self.calls.append(("upload_folder", given))
        self.files = {path.name: path.read_text() for path in folder_path.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("# Results\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "runs.parquet").write_text("table")
    return tmp_path


def upload(client, folder, monkeypatch, **given):
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: client)
    hub.upload(folder, "ada/lottery", **given)


def test_a_folder_becomes_one_commit_of_a_data_set(folder, monkeypatch):
    client = Client()
    upload(client, folder, monkeypatch, license="CC-BY-4.0")
    place = {"repo_id": "ada/lottery", "repo_type": "dataset"}
    assert client.calls == [
        ("create_repo", place | {"exist_ok": True}),
        ("upload_folder", place | {"commit_message": "Results of layerlottery"}),
    ]
    assert client.files["runs.parquet"] == "table"


def test_the_card_tells_the_viewer_where_the_tables_are_and_only_there(folder, monkeypatch):
    client = Client()
    upload(client, folder, monkeypatch, license="CC-BY-4.0")
    _, head, text = client.files["README.md"].split("---\n")
    held = yaml.safe_load(head)
    assert text.strip() == "# Results"
    assert held["license"] == "cc-by-4.0"
    assert {one["config_name"]: one["data_files"] for one in held["configs"]} == {
        name: f"tables/{name}.parquet" for name in paths.TABLES
    }
    assert (folder / "README.md").read_text() == "# Results\n"
    assert "license" not in yaml.safe_load(hub.front_matter("").strip("-\n"))


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "the Hub answered 401; log in first: hf auth login"), (500, "the Hub answered 500")],
)
def test_a_refusal_is_one_line_without_what_authorizes(status, reason, folder, monkeypatch):
    with pytest.raises(LayerLotteryError) as caught:
        upload(Client(status), folder, monkeypatch)
    assert str(caught.value) == f"--hub ada/lottery: not uploaded: {reason}"
    assert SECRET not in str(caught.value)
    assert (folder / "README.md").read_text() == "# Results\n"


@pytest.mark.parametrize("name", ["lottery", "a/b/c", "ada/", "/lottery", "ada/lot tery", "https://a/b", "../b"])
def test_what_is_no_repository(name):
    with pytest.raises(LayerLotteryError, match=r"^--hub: found .*; allowed: OWNER/NAME$"):
        hub.check_name(name)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(LayerLotteryError, match=r"^--hub: needs a package: pip install 'layerlottery\[publish\]'$"):
        hub.check_name("ada/lottery")
