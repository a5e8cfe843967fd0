"""JSON Schema of the contract, generated from its structures; says what is valid, never refuses what it does not know.

    python -m sluiceway_contracts.schema FOLDER     writes v1.json and asyncapi.json there

JSON Schema 2020-12: https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .asks import ASKS, StoredFile
from .commands import COMMANDS, CommandData
from .envelope import Envelope
from .events import EVENTS, EventData
from .parts import KNOWN
from .states import STRUCTURES

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REQUIRED = ("specversion", "id", "source", "type", "time", "tenant", "data")
"""What every event and command carries: CloudEvents' mandatory attributes and ours."""

_DATA: Mapping[str, type[EventData | CommandData]] = {**EVENTS, **COMMANDS}


def json_schema(type: str | None = None) -> Schema:
    """The schema of every event and command, or of those of one type alone.

    Under `$defs` stand the structures by name, records and answers too, and each event and command by its type. An
    event of a type that is not there needs only a valid envelope. Raises `KeyError` for a type that the contract does
    not have.
    """
    defs = definitions("#/$defs/")
    if type is not None:
        return {"$schema": DIALECT, "$ref": f"#/$defs/{type}", "$defs": _reached(defs, type)}
    rules = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/{name}"},
        }
        for name in _DATA
    ]
    return {
        "$schema": DIALECT,
        "title": "Sluiceway, version 1",
        "description": "An event or command of customer conversations. Unknown fields, parts and types are valid.",
        "$ref": "#/$defs/Envelope",
        "allOf": rules,
        "$defs": defs,
    }


def definitions(prefix: str) -> dict[str, Schema]:
    """Every structure by its name, of questions, answers and records too; the envelope of events and commands by type.

    References are `prefix` and the name: "#/$defs/" in JSON Schema, "#/components/schemas/" in AsyncAPI.
    """
    others = [*STRUCTURES, *(struct for ask in ASKS.values() for struct in ask), StoredFile]
    _, found = msgspec.json.schema_components([Envelope, *_DATA.values(), *others], ref_template=prefix + "{name}")
    defs: dict[str, Schema] = {name: _tidy(schema, prefix) for name, schema in found.items()}
    defs["AnyPart"] = {
        "description": "A part of a message's content. Other types of parts are valid too: show their fallback.",
        "anyOf": [{"$ref": prefix + part.__name__} for part in KNOWN.values()] + [{"$ref": prefix + "LaterPart"}],
    }
    defs["LaterPart"] = {
        "description": "A part of a type that a later version of the contract defines.",
        "type": "object",
        "properties": {
            "type": {"type": "string", "not": {"enum": list(KNOWN)}},
            "id": {"type": "string"},
            "fallback": {"type": "string"},
        },
        "required": ["type"],
    }
    _complete_envelope(defs["Envelope"])
    for type, struct in _DATA.items():
        defs[type] = {
            "title": type,
            "description": inspect.getdoc(struct),
            "allOf": [{"$ref": prefix + "Envelope"}],
            "type": "object",
            "properties": {"type": {"const": type}, "data": {"$ref": prefix + struct.__name__}},
            "required": ["type", "data"],
        }
    return defs


def dumps(document: Schema) -> str:
    """The document as it is committed: sorted, indented by two, with a line's end."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write both documents to the folder given, and say which; without a folder only say their names."""
    from .asyncapi import asyncapi

    documents = {"v1.json": json_schema(), "asyncapi.json": asyncapi()}
    folder = Path(arguments[0]) if arguments else None
    for name, document in documents.items():
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(dumps(document), encoding="utf-8")
        sys.stdout.write(f"{folder / name if folder else name}\n")


def _tidy(schema: Any, prefix: str) -> Any:
    """Without what only msgspec knows: unions of parts become AnyPart, docstrings lose their indentation."""
    match schema:
        case {"discriminator": _}:
            return {"$ref": prefix + "AnyPart"}
        case dict():
            tidied = {key: _tidy(value, prefix) for key, value in schema.items()}
            if isinstance(tidied.get("description"), str):
                tidied["description"] = inspect.cleandoc(tidied["description"])
            return tidied
        case list() | tuple():
            return [_tidy(item, prefix) for item in schema]
        case _:
            return schema


def _complete_envelope(envelope: Schema) -> None:
    """Constructors may leave out what they fill in; on the wire it is always there."""
    fields = envelope["properties"]
    fields["specversion"] = {"const": "1.0"}
    for name in ("source", "type"):
        fields[name] = {"type": "string", "minLength": 1}
    fields["data"] = {"description": "By type."}
    envelope["required"] = list(REQUIRED)


def _reached(defs: Mapping[str, Schema], start: str) -> dict[str, Schema]:
    names, found = [start], dict[str, Schema]()
    while names:
        name = names.pop()
        if name not in found:
            found[name] = defs[name]
            names += [ref.rpartition("/")[2] for ref in _refs(defs[name])]
    return found


def _refs(schema: Any) -> Iterator[str]:
    match schema:
        case {"$ref": str(ref)}:
            yield ref
        case dict():
            for value in schema.values():
                yield from _refs(value)
        case list():
            for item in schema:
                yield from _refs(item)


if __name__ == "__main__":
    main(sys.argv[1:])
