"""What `--help` looks like: commands in groups, and of each command its own options, its settings, then common ones."""

from __future__ import annotations

from typing import Any

from rich_click import RichCommand, RichOptionPanel

SETTINGS = "Settings"
COMMON = "Common options"
STYLE = {
    "theme": "default-slim",
    "text_markup": None,
    "style_helptext_first_line": "",
    "style_option_help": "",
    # choices may be many: they wrap in the text, and a column of their own would cut them
    "options_table_column_types": ["opt_all", "help"],
    "options_table_help_sections": ["metavar", "help", "required", "default", "envvar"],
    "default_string": r"\[default: {}]",
    "max_width": 120,
}
CONTEXT = {"help_option_names": ["-h", "--help"], "rich_help_config": STYLE}


class PanelCommand(RichCommand):
    """A command whose help lists its own options first, then settings, then what many commands share."""

    def __init__(self, *words: Any, **given: Any) -> None:
        panels = [RichOptionPanel("Options"), RichOptionPanel(SETTINGS), RichOptionPanel(COMMON, ["help"])]
        # click types each keyword, and all of them are handed through
        super().__init__(*words, panels=panels, **given)  # type: ignore[arg-type]
