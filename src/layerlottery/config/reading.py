"""What a configuration file must be before its values count: a plain text file of YAML whose keys stand once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from layerlottery.errors import LayerLotteryError

# bytes; a benchmark of hundreds of studies has a hundredth of it
LARGEST = 1 << 22
# values with all aliases written out, and how deep they lie
MOST, DEEPEST = 100_000, 50


def read_yaml(path: Path, *, key: str = "") -> Any:
    """What a file of YAML or JSON holds, if every mapping in it has each of its keys once.

    Of two equal keys, readers take the last in silence: a whole section would be gone. `key` names the setting that
    names the file. Raises LayerLotteryError, in one line that names the file and, of a key that stands twice, both
    lines.
    """
    where = f"configuration: {key}: {path}" if key else str(path)
    try:
        if not path.is_file():
            raise LayerLotteryError(f"{where}: {'not a file' if path.exists() else 'No such file or directory'}")
        if (size := path.stat().st_size) > LARGEST:
            raise LayerLotteryError(f"{where}: found {size} bytes; allowed: at most {LARGEST}")
        held = _parsed(path.read_text(encoding="utf-8-sig"))
        check_size(held)
    except OSError as error:
        raise LayerLotteryError(f"{where}: {error.strerror}") from None
    except LayerLotteryError:
        raise
    except RecursionError:
        raise LayerLotteryError(f"{where}: nested too deeply; allowed: {DEEPEST} levels") from None
    except (yaml.YAMLError, ValueError) as error:
        raise LayerLotteryError(f"{where}: {' '.join(str(error).split())}") from None
    except Exception:  # !!bool x brings PyYAML's own slips to light
        raise LayerLotteryError(f"{where}: not readable as YAML: found a value unlike its tag") from None
    return held


def check_size(config: Any) -> None:
    """Raise ValueError where aliases stand for more than anyone has written: ten lines can mean a billion values."""
    waiting, seen = [(config, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        held = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        if depth > DEEPEST or seen + len(waiting) + len(held) > MOST:
            raise ValueError(f"allowed: {MOST} values, aliases written out, {DEEPEST} levels deep")
        waiting += [(one, depth + 1) for one in held]


def _parsed(text: str) -> Any:
    """As Snakemake reads it: as JSON if it is that, which may be indented with tabs, else as YAML."""
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        # not libyaml's loader: brackets nested deep enough end the process
        loader = yaml.SafeLoader(text)
    root = loader.get_single_node()
    _check_keys(root)
    return None if root is None else loader.construct_document(root)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice; allowed: once")
        found[key] = value
    return found


def _check_keys(root: yaml.Node | None) -> None:
    """Raise ValueError for the first key that stands twice in one mapping, with both lines."""
    # an alias is the node that it names, and may hold itself
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
            continue
        lines: dict[str, int] = {}
        for name in (name for name, _ in node.value if isinstance(name, yaml.ScalarNode)):
            # whatever their types, names of settings are text: 1 and "1" are the same
            line = name.start_mark.line + 1
            if name.value in lines:
                where = f"in lines {lines[name.value]} and {line}"
                raise ValueError(f"the key {name.value!r} stands twice, {where}; allowed: once")
            lines[name.value] = line
        waiting += [part for pair in reversed(node.value) for part in reversed(pair)]
