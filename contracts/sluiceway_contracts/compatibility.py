"""What would break readers or writers between two generated documents of the contract; judges form, never meaning.

Not breaking: fields that may be absent, new types of events, commands and parts, other titles and descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .schema import Schema
from .states import STRUCTURES

# `not` lists in LaterPart the parts that are known: it changes with every new one
_COMPARED_APART = frozenset(
    {"$ref", "additionalProperties", "anyOf", "default", "enum", "items", "not", "properties", "required"}
    | {"title", "description", "type"}
)

_ROOTS = frozenset(struct.__name__ for struct in STRUCTURES)
"""Records, questions and answers, which no type of event or command reaches."""


def breaking(old: Schema, new: Schema) -> list[str]:
    """A sentence for each breaking change between two documents of `schema.json_schema`; none, and they are compatible.

    Breaking are: a type of event, command or part, or a field, that is gone (so one that is renamed, too); a field
    newly required, or no longer; another type, format or default, as the default is what an absent field means; a
    closed set of values that lost or gained one.
    """
    return list(_Comparison(old["$defs"], new["$defs"]).types())


def breaking_subjects(old: Schema, new: Schema) -> list[str]:
    """A sentence for each subject that is gone or moved between two documents of `asyncapi.asyncapi`."""
    found = []
    for name, channel in sorted(old["channels"].items()):
        now = new["channels"].get(name)
        if now is None:
            found.append(f"{name}: the subject {channel['address']} is gone")
        elif now["address"] != channel["address"]:
            found.append(f"{name}: the subject moved from {channel['address']} to {now['address']}")
    return found


class _Comparison:
    """Walks from each event, command, record and answer; a structure is compared once, and named by itself."""

    def __init__(self, old: Mapping[str, Schema], new: Mapping[str, Schema]) -> None:
        self.old, self.new = old, new
        self.compared: set[tuple[str, str]] = set()

    def types(self) -> Iterator[str]:
        for name, schema in sorted(self.old.items()):
            if "const" not in schema.get("properties", {}).get("type", {}) and name not in _ROOTS:
                continue  # a structure: what matters is where a type or a record reaches it
            if name in self.new:
                yield from self.schemas(name, schema, self.new[name])
            else:
                yield f"{name}: the type is gone"

    def schemas(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        if "$ref" in old and "$ref" in new:
            pair = (_name(old), _name(new))
            if pair in self.compared:
                return
            self.compared.add(pair)
            path = pair[0]
        old, new = _resolve(old, self.old), _resolve(new, self.new)
        if old.get("default") != new.get("default"):
            yield f"{path}: the default was {old.get('default')!r} and is {new.get('default')!r}"
        before, after = _branches(old, self.old), _branches(new, self.new)
        for kind in sorted(before.keys() - after.keys()):
            yield f"{path}: {kind} is no longer valid"
        for kind in sorted(after.keys() - before.keys()):
            if not kind.startswith("part "):
                yield f"{path}: {kind} is newly valid"
        for kind in sorted(before.keys() & after.keys()):
            if "anyOf" in old or "anyOf" in new:
                yield from self.schemas(path, before[kind], after[kind])
            else:
                yield from self.one(path, old, new)

    def one(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        """Two schemas of the same kind, neither a reference nor a union."""
        for key in sorted((old.keys() | new.keys()) - _COMPARED_APART):
            if old.get(key) != new.get(key):
                yield f"{path}: {key} was {old.get(key)!r} and is {new.get(key)!r}"
        if old.get("enum") != new.get("enum"):
            yield f"{path}: the values were {old.get('enum')} and are {new.get('enum')}"
        yield from self.fields(path, old, new)
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if key in old or key in new:
                yield from self.schemas(path + mark, _schema(old.get(key)), _schema(new.get(key)))
        for before, after in zip(old.get("allOf", ()), new.get("allOf", ()), strict=False):
            yield from self.schemas(path, before, after)

    def fields(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required, now_required = set(old.get("required", ())), set(new.get("required", ()))
        for name, schema in sorted(before.items()):
            if name in after:
                yield from self.schemas(f"{path}.{name}", schema, after[name])
            else:
                yield f"{path}.{name}: the field is gone"
        for name in sorted(now_required - required):
            yield f"{path}.{name}: newly required"
        for name in sorted((required - now_required) & after.keys()):
            yield f"{path}.{name}: no longer required, so it may be absent"


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _resolve(schema: Schema, defs: Mapping[str, Schema]) -> Schema:
    return defs[_name(schema)] if "$ref" in schema else schema


def _schema(value: Any) -> Schema:
    """A schema that may be left out or a boolean, as an object."""
    match value:
        case None | True:
            return {}
        case False:
            return {"type": "nothing"}
        case _:
            return dict(value)


def _branches(schema: Schema, defs: Mapping[str, Schema]) -> dict[str, Schema]:
    """The alternatives of a union by what they allow; of anything else the one that it is, its default aside."""
    if "anyOf" in schema:
        return {_kind(_resolve(branch, defs)): branch for branch in schema["anyOf"]}
    return {_kind(schema): {key: value for key, value in schema.items() if key != "default"}}


def _kind(schema: Schema) -> str:
    match schema:
        case {"properties": {"type": {"enum": [tag]}}}:
            return f"part {tag}"
        case {"type": kind}:
            return str(kind)
        case {"enum": _} | {"const": _}:
            return "fixed values"
        case _:
            return "anything"
