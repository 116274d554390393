"""The values of `--set NAME=VALUE`."""

import dataclasses
from typing import Any


def settings(pairs: list[str]) -> dict[str, Any]:
    """The `--set NAME=VALUE` pairs as settings of the right types.

    Raises:
      ValueError: there is no such setting, or the value has the wrong type; one sentence.
    """
    from dreamer_lite.config import Config, check_name

    fields = {field.name: field for field in dataclasses.fields(Config)}
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair} is not of the form NAME=VALUE.")
        if name in ("world", "size", "seed", "seeds"):
            raise ValueError(f"Choose the {name} by --{name}, not by --set.")
        check_name("setting", name, fields)
        try:
            found[name] = parse(fields[name].type, text)
        except (ValueError, KeyError):
            usual = fields[name].default
            raise ValueError(
                f"--set {pair} is no value for {name}, whose default is {usual}."
            ) from None
    return found


def parse(kind: Any, text: str) -> Any:
    """`text` as a value of a field's type. Raises ValueError or KeyError."""
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    if kind is int or kind is str:
        return kind(text)
    if kind is float:
        return int(text) if text.strip("+-").isdigit() else float(text)
    return tuple(int(part) for part in text.split(","))
