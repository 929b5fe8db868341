"""What a configuration file must be before its values count: a plain text file of YAML whose keys stand once."""

from __future__ import annotations

from pathlib import Path

import yaml

from layerlottery.errors import LayerLotteryError

# bytes; a benchmark of hundreds of studies has a hundredth of it
LARGEST = 1 << 22


def read_yaml(path: Path, *, key: str = "") -> str:
    """The text of a file of YAML or JSON in which every mapping holds each of its keys once.

    Of two equal keys, readers take the last in silence: a whole section would be gone. `key` names the setting that
    names the file. Raises LayerLotteryError that names the file and, of a key that stands twice, both lines.
    """
    where = f"configuration: {key}: {path}" if key else str(path)
    try:
        if not path.is_file():
            raise LayerLotteryError(f"{where}: {'not a file' if path.exists() else 'No such file or directory'}")
        if (size := path.stat().st_size) > LARGEST:
            raise LayerLotteryError(f"{where}: found {size} bytes; allowed: at most {LARGEST}")
        text = path.read_text(encoding="utf-8-sig")
        # not libyaml's loader: brackets nested deep enough end the process
        if twice := _twice(yaml.compose(text, yaml.SafeLoader)):
            raise LayerLotteryError(f"{where}: {twice}")
    except OSError as error:
        raise LayerLotteryError(f"{where}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LayerLotteryError(f"{where}: {' '.join(str(error).split())}") from None
    return text


def _twice(root: yaml.Node | None) -> str | None:
    """The first key that stands twice in one mapping, and where; None if there is none."""
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
        lines: dict[tuple[str, str], int] = {}
        for name, _ in node.value:
            key, line = (name.tag, str(name.value)), name.start_mark.line + 1
            if key in lines and isinstance(name, yaml.ScalarNode):
                return f"the key {name.value!r} stands twice, in lines {lines[key]} and {line}; allowed: once"
            lines[key] = line
        waiting += [value for _, value in reversed(node.value)]
    return None
