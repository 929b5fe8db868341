"""The configuration's JSON schema as a page: every key with its type, limits, default and meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
HEAD = """# Configuration

Every key of the configuration file. This page is made from the schema by `make documents`; a test keeps the two equal.
`config.yaml` shows the usual keys at work, and with `workflow/schemas/config.schema.json` an editor completes and
checks them. Unknown keys are errors.
"""
LARGEST = 2**31  # limits above it only keep numbers in the range of a type


def every_key(schema: Schema) -> str:
    """Markdown: the keys at the top, then a section for each mapping, in the order in which they are met."""
    titles = dict(_titles(schema))
    parts = [HEAD, "## Keys at the top\n", *_table(schema, titles)]
    for name, title in titles.items():
        held = schema["$defs"][name]
        about = " ".join(held.get("description", "").split())
        parts += [f"## {title}\n", *([f"{about}\n"] if about else []), *_table(held, titles)]
    return "\n".join(parts)


def _titles(schema: Schema) -> Iterator[tuple[str, str]]:
    """Names of definitions, each with the key that it is met at, and with what chooses it among several."""
    seen: set[str] = set()
    waiting = [("", schema)]
    while waiting:
        at, mapping = waiting.pop(0)
        for key, value in mapping["properties"].items():
            found = [name for name in dict.fromkeys(_references(value)) if name not in seen]
            for name in found:
                seen.add(name)
                chosen = _choice(schema["$defs"][name])
                path = f"{at}{key}"
                yield name, f"`{path}`, with `{chosen}`" if chosen else f"`{path}`"
                waiting.append((f"{path}.", schema["$defs"][name]))


def _choice(mapping: Schema) -> str:
    """The line that makes a mapping this one of several, such as `source: parquet`."""
    constants = [(key, one["const"]) for key, one in mapping["properties"].items() if "const" in one]
    return "".join(f"{key}: {value}" for key, value in constants[:1])


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for key, one in value.items():
            if key not in ("default", "discriminator"):
                yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)


def _table(mapping: Schema, titles: dict[str, str]) -> list[str]:
    required = mapping.get("required", ())
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, held in mapping["properties"].items():
        default = "required" if key in required else _default(held, titles)
        meaning = " ".join(held.get("description", "chooses this form" if "const" in held else "").split())
        rows.append("| " + " | ".join(_cell(one) for one in (f"`{key}`", _kind(held, titles), default, meaning)) + " |")
    return [*rows, ""]


def _default(held: Schema, titles: dict[str, str]) -> str:
    if "default" not in held:
        return ""
    # a mapping's own defaults stand in its section
    if isinstance(held["default"], dict) and any(name in titles for name in _references(held)):
        return ""
    return f"`{json.dumps(held['default'], ensure_ascii=False)}`"


def _kind(held: Schema, titles: dict[str, str]) -> str:
    """A value's type and limits in words, with links to the sections of mappings."""
    if "$ref" in held:
        name = held["$ref"].rpartition("/")[2]
        return f"[{titles[name].replace('`', '')}](#{_anchor(titles[name])})"
    if "const" in held or "enum" in held:
        return ", ".join(f"`{json.dumps(one).strip(chr(34))}`" for one in held.get("enum", [held.get("const")]))
    for key in ("anyOf", "oneOf"):
        if key in held:
            return " or ".join(dict.fromkeys(_kind(one, titles) for one in held[key]))
    if held.get("type") == "array":
        return f"list of {_kind(held.get('items', {}), titles)}"
    if held.get("type") == "object":
        named = [_kind(one, titles) for one in held.get("patternProperties", {}).values()]
        return f"by name: {named[0]}" if named else "mapping"
    return f"{held.get('type', 'any')}{_limits(held)}"


def _anchor(title: str) -> str:
    """What a heading is linked by, on the site as on code hosts."""
    return re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-")


def _limits(held: Schema) -> str:
    bounds = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
    }
    said = [
        text.format(f"{held[key]:,}".removesuffix(".0"))
        for key, text in bounds.items()
        if abs(held.get(key, LARGEST)) < LARGEST
    ]
    return f", {' '.join(said)}" if said else ""


def _cell(text: str) -> str:
    # a | would end the cell
    return text.replace("|", "\\|")
