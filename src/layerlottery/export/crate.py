"""The RO-Crate of published results: one JSON-LD file that says what each file is and which run made it.

Profile: Workflow Run Crate 0.5 (w3id.org/ro/wfrun/workflow/0.5), on RO-Crate 1.1. Names no person: who publishes adds
that where the archive is put.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from layerlottery.store.schemas import ABOUT

FILE = "ro-crate-metadata.json"
CONFIGURATION = "config.yaml"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
CRATE, WORKFLOW_CRATE = "https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
RUN, UNLICENSED = "#run", "#license"
# made by the run, by the beginning of their names
RESULTS = ("tables/", "report/", "weights/")
SOFTWARE = {
    "package_version": ("layerlottery", "https://arxiv.org/abs/2301.10835"),
    "torch_version": ("PyTorch", "https://pytorch.org/"),
}
TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".safetensors": "application/octet-stream",
    ".md": "text/markdown",
    ".yaml": "application/yaml",
    ".tex": "application/x-tex",
}
TEXT = "text/plain"
ABOUT_FILES = {
    "manifest.json": "configuration, versions, machines and times of the run, and the hashes of the tables",
    "README.md": "what is in here, and how to read it",
    "report/index.html": "the report: verdict, figures and tables on one page",
    CONFIGURATION: "what was asked for: each setting that is not the default",
}
Entity = dict[str, Any]


def crate(folder: Path, manifest: Mapping[str, Any], *, main: str, title: str, license: str) -> dict[str, Any]:
    """The metadata of all files below a folder; `main` is the workflow's name there, `license` an SPDX name or "".

    Times are those of the manifest, so that the same results have the same metadata.
    """
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [name for name in names if not name.startswith("report/pages/") and name != FILE]
    pages = ["report/pages/"] if len(files) < len(names) - names.count(FILE) else []
    made = [name for name in (*files, *pages) if name.startswith(RESULTS)]
    software = list(_software(manifest))
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": f"A benchmark of layer pruning at initialization: {manifest['networks']} trained networks, "
        f"{len(manifest['seeds'])} seeds; tables, report and the workflow that made them.",
        "datePublished": (manifest["ended"] or "1970-01-01")[:10],
        "license": _ref(f"https://spdx.org/licenses/{license}" if license else UNLICENSED),
        "conformsTo": [_ref(profile) for profile in PROFILES],
        "hasPart": [_ref(name) for name in (*files, *pages)],
        "mainEntity": _ref(main),
        "mentions": _ref(RUN),
    }
    graph = [
        {"@id": FILE, "@type": "CreativeWork", "about": _ref("./"), "conformsTo": [_ref(CRATE), _ref(WORKFLOW_CRATE)]},
        root,
        *(_file(folder, name, main, manifest["written_by"], software) for name in files),
        *({"@id": name, "@type": "Dataset", "name": "a page for each network"} for name in pages),
        _run(manifest, main, made),
        *software,
        *_context(license),
    ]
    return {"@context": CONTEXT, "@graph": graph}


def _ref(name: str) -> dict[str, str]:
    return {"@id": name}


def _file(folder: Path, name: str, main: str, version: str, software: Iterable[Entity]) -> Entity:
    path = folder / name
    kind = TYPES.get(path.suffix) or mimetypes.types_map.get(path.suffix) or TEXT
    found: Entity = {
        "@id": name,
        "@type": "File",
        "name": _about(name),
        "encodingFormat": kind,
        "contentSize": str(path.stat().st_size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    if name == "README.md":
        found["about"] = _ref("./")
    if name != main:
        return found
    return found | {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
        "name": "layerlottery",
        "version": version,
        "programmingLanguage": _ref(SNAKEMAKE),
        "softwareRequirements": [_ref(one["@id"]) for one in software],
    }


def _about(name: str) -> str:
    path = Path(name)
    if path.parent.name == "tables":
        return f"{ABOUT[path.stem]}" if path.stem in ABOUT else name
    return ABOUT_FILES.get(name, name)


def _run(manifest: Mapping[str, Any], main: str, made: Iterable[str]) -> Entity:
    """The one action: from the first start of a training to the last end of one."""
    times = {"startTime": manifest["started"], "endTime": manifest["ended"]}
    return {
        "@id": RUN,
        "@type": "CreateAction",
        "name": f"Run of the benchmark: {manifest['networks']} networks trained and tested",
        "description": f"snakemake --cores all --configfile {CONFIGURATION}",
        "instrument": _ref(main),
        "object": _ref(CONFIGURATION),
        "result": [_ref(name) for name in (*made, "manifest.json")],
        "actionStatus": "http://schema.org/CompletedActionStatus",
        **{key: time for key, time in times.items() if time},
    }


def _software(manifest: Mapping[str, Any]) -> Iterator[Entity]:
    """Packages that trained the networks, an entity for each version."""
    for key, (name, url) in SOFTWARE.items():
        for version in manifest[key]:
            known = {"softwareVersion": version} if version != "none" else {}
            yield {"@id": f"#{name}-{version}", "@type": "SoftwareApplication", "name": name, "url": url} | known


def _context(license: str) -> Iterator[Entity]:
    """What the others refer to."""
    for profile, (name, version) in PROFILES.items():
        yield {"@id": profile, "@type": "CreativeWork", "name": name, "version": version}
    language = {"identifier": "https://doi.org/10.1093/bioinformatics/bts480", "url": "https://snakemake.github.io"}
    yield {"@id": SNAKEMAKE, "@type": "ComputerLanguage", "name": "Snakemake", **language}
    if license:
        yield {"@id": f"https://spdx.org/licenses/{license}", "@type": "CreativeWork", "name": license}
    else:
        said = "The publisher has stated no license; where this archive is published, it says which holds."
        yield {"@id": UNLICENSED, "@type": "CreativeWork", "name": "not stated", "description": said}
