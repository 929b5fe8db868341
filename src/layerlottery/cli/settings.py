"""Command-line options made from settings models, so that help, defaults and units have one source.

Imported when a command runs or shows its help: pydantic and the models take longer than the rest of a command line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

import rich_click as click
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from layerlottery.cli.panels import SETTINGS
from layerlottery.config.base import Settings, read_options
from layerlottery.config.loading import first_line
from layerlottery.errors import LayerLotteryError

KINDS = {"object": "JSON", "boolean": "true|false"}
Model = TypeVar("Model", bound=Settings)


def fields_of(of: Any) -> dict[str, FieldInfo]:
    """The fields of a settings model, or of all members of an annotated union, by name."""
    return {name: field for model in _models(of) for name, field in model.model_fields.items()}


def settings_options(of: Any) -> list[click.RichOption]:
    """--settings (JSON) and one option for each field of the models; options win over --settings."""
    text, models = "settings as JSON; the options below replace single values", _models(of)
    options = [click.RichOption(["--settings"], default="{}", metavar="JSON", panel=SETTINGS, help=text)]
    for name, field in fields_of(of).items():
        options.append(
            _option(name, field, [model.model_fields[name] for model in models if name in model.model_fields])
        )
    return options


def gathered(of: Any, settings: str, options: Mapping[str, Any]) -> Any:
    """The checked settings of a model or an annotated union."""
    return gather(of if _is_model(of) else TypeAdapter(of), settings, options)


class _SettingOption(click.RichOption):
    """An option for a setting; only help needs to know which values each model allows, and pydantic takes a moment."""

    def __init__(self, *words: Any, fields: Sequence[FieldInfo], **given: Any) -> None:
        super().__init__(*words, **given)
        self.fields = fields

    def make_metavar(self, ctx: click.Context) -> str:
        return "|".join(dict.fromkeys(map(_metavar, self.fields)))


def _option(name: str, field: FieldInfo, fields: Sequence[FieldInfo]) -> click.RichOption:
    many = get_origin(field.annotation) is list
    default = "" if field.default is PydanticUndefined else f"  [default: {_shown(field.default)}]"
    repeat = "; repeat for several" if many else ""
    return _SettingOption(
        [f"--{name.replace('_', '-')}", name],
        fields=fields,
        multiple=many,
        panel=SETTINGS,
        help=f"{field.description or 'kind of these settings'}{repeat}{default}",
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, Settings):
        return value.slice()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _metavar(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    whole: Any = Annotated[(annotation, *field.metadata)] if field.metadata else annotation
    schema = TypeAdapter(whole).json_schema()
    schema = schema.get("items", schema)
    return "|".join(dict.fromkeys(word for part in schema.get("anyOf", [schema]) for word in _allowed(part)))


def _allowed(schema: Mapping[str, Any]) -> list[str]:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices:
        return list(map(str, choices))
    kind = str(schema.get("type", "value"))
    return [KINDS.get(kind, kind.upper())]


def gather(
    adapter: type[Model] | TypeAdapter[Model], settings: str, options: Mapping[str, Any], *, key: str = "settings"
) -> Model:
    """Settings from JSON text with the given options laid over it; raises one line about the first bad value.

    `key` is the name of the option that the text was given with.
    """
    try:
        values = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise LayerLotteryError(f"--{key}: not JSON ({error}); found {settings[:60]!r}") from None
    if not isinstance(values, dict):
        raise LayerLotteryError(f"--{key}: found {settings[:60]!r}; allowed: a JSON object")
    for name, given in options.items():
        if given not in (None, ()):
            values[name] = _read(given) if isinstance(given, str) else [_read(one) for one in given]
    validator = adapter if isinstance(adapter, TypeAdapter) else TypeAdapter(adapter)
    try:
        return validator.validate_python(values)
    except ValidationError as error:
        raise LayerLotteryError(f"{key}: {first_line(error)}") from None


def _read(text: str) -> Any:
    """Objects and lists are JSON; numbers, true, false and null are read by the models, which know what is text."""
    return read_options(text) if text[:1] in ("{", "[") else text


def _models(of: Any) -> list[type[Settings]]:
    if _is_model(of):
        return [of]
    members = get_args(get_args(of)[0])
    return [get_args(member)[0] if get_origin(member) is Annotated else member for member in members]


def _is_model(of: Any) -> bool:
    return isinstance(of, type) and issubclass(of, Settings)
