"""The documents' site: every page is in it, generated pages are current, and it builds with warnings as errors."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import torch
import torchvision
import yaml
from tests.unit.pages import DOCS, NAMES, ROOT, blocks, commands

import layerlottery
from layerlottery.cli.configuration_page import every_key
from layerlottery.cli.main import cli
from layerlottery.cli.reference import configuration_schema

# what is loaded from elsewhere; links that a reader follows are none of these
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


def configuration():
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def listed(entries):
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        yield from listed(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation():
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if not {"examples", "tables"} & {*path.parts}}
    named = [*listed(configuration()["nav"])]
    assert len(set(named)) == len(named)
    assert pages - {*named} == set(), "add them to nav in mkdocs.yml"
    assert {*named} - pages == {"tutorial.md"}, "these are in nav, and not in docs; tutorial.md is made of the notebook"


def test_the_configuration_page_is_current():
    made = every_key(json.loads(configuration_schema()))
    assert (DOCS / "configuration.md").read_text() == made, "run: make documents"


def test_the_configuration_page_has_every_key():
    page = (DOCS / "configuration.md").read_text()
    whole = json.loads(configuration_schema())
    for held in [whole, *whole["$defs"].values()]:
        for key, one in held["properties"].items():
            assert f"| `{key}` | " in page
            assert " ".join(one.get("description", "").split()).replace("|", "\\|") in page
    anchors = {re.sub(r"[^\w\s-]", "", one).lower().replace(" ", "-") for one in re.findall(r"^## (.*)$", page, re.M)}
    assert {*re.findall(r"\]\(#([^)]+)\)", page)} <= anchors


def test_the_interface_page_has_all_of_it():
    shown = re.findall(r"^::: layerlottery\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted({*layerlottery.__all__} - {"__version__"})


def test_readme_is_short_and_begins_as_the_site_does():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert lines[2].startswith("![")
    site = blocks("docs/index.md", "python")
    assert [one.text for one in site] == [one.text for one in blocks("README.md", "python")]
    (install,) = commands(blocks("README.md", "bash")[0].text)
    assert install[:2] == ["pip", "install"]


def test_readme_s_table_is_what_networks_have():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) % \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    page = (DOCS / "networks.md").read_text().rpartition("--image-size 224")[2]
    assert len(rows) >= 4
    for name, blocks_there, most, _ in rows:
        assert re.search(
            rf"^\| `torchvision\.{name}` \|.*\| {blocks_there} \| [\d, ]+ \| {most} \|$", page, re.MULTILINE
        )


def test_a_share_in_readme_is_that_of_the_library():
    name, most, share = "resnet18", 4, 51
    images = torch.zeros(2, 3, 224, 224)
    network = torchvision.models.get_model(name)
    ticket = layerlottery.find_ticket(network, criterion="random", remove=most, example=images)
    assert round(100 * ticket.cost.flops_reduction) == share
    assert re.search(rf"^\| `{name}` \| \d+ \| {most} \| {share} % \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    with pytest.raises(layerlottery.LayerLotteryError):
        layerlottery.find_ticket(network, criterion="random", remove=most + 1, example=images)


def test_links_of_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 20
    assert [one for one in links if not (ROOT / one).exists()] == []


def test_messages_that_the_page_on_trouble_explains_are_ours():
    page = (DOCS / "troubleshooting.md").read_text()
    source = re.sub(r'"\s*\n\s*f?"', "", "".join(path.read_text() for path in (ROOT / "src").rglob("*.py")))
    headings = re.findall(r"^### `([^`]+)`", page, re.MULTILINE)
    parts = [part.strip(" :,;()") for heading in headings for part in heading.split("…")]
    assert len(headings) >= 10
    assert [part for part in parts if len(part) > 3 and part not in source] == []


class Loads(HTMLParser):
    """Addresses that a page loads from other hosts, by tag."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(LOADED.get(tag, ""), "") or ""
        if re.match(r"(https?:)?//", address) and dict(attrs).get("rel") != "canonical":
            self.found.append((tag, address))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="needs the extra docs: make docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_built(site):
    built = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    wanted = {
        name.removeprefix("docs/").replace(".md", ".html")
        for name in NAMES
        if name.startswith("docs/") and "/tables/" not in name
    }
    assert wanted | {"tutorial.html"} <= built


@pytest.mark.slow
def test_nothing_is_loaded_from_another_host(site):
    for path in site.rglob("*.html"):
        page = Loads()
        page.feed(path.read_text(encoding="utf-8"))
        assert page.found == [], path.name
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", path.read_text(encoding="utf-8")) == []


@pytest.mark.slow
def test_commands_and_functions_are_on_their_pages(site):
    commands_page = (site / "commands.html").read_text(encoding="utf-8")
    hidden = {name for name, one in cli.commands.items() if one.hidden}
    assert [name for name in cli.commands.keys() - hidden if f'id="layerlottery-{name}"' not in commands_page] == []
    interface = (site / "api.html").read_text(encoding="utf-8")
    public = {*layerlottery.__all__} - {"__version__"}
    assert [name for name in public if f'id="layerlottery.{name}"' not in interface] == []


@pytest.mark.slow
def test_the_notebook_is_a_page_with_its_figures(site):
    page = (site / "tutorial.html").read_text(encoding="utf-8")
    figures = re.findall(r'src="(tutorial/[^"]+\.png)"', page)
    assert len(figures) == 3
    assert all((site / name).stat().st_size > 1000 for name in figures)
    assert 'href="library.html"' in page
