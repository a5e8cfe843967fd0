"""Meta's own OpenAPI document as a validator of what the Cloud API is posted; it knows no limit that isn't Meta's.

Read as JSON Schema, the document refuses all of its own examples, most of them since `additionalProperties: false` in
one branch of an `allOf` knows nothing of the other branches. What becomes of it, everywhere alike:

1. References in an `allOf` are put in place, and `additionalProperties: false` of its branches becomes
   `unevaluatedProperties: false` of the schema that holds it.
2. A `discriminator` where no `oneOf` stands is the `oneOf` of its mapping, which is what OpenAPI says it is.
3. Wherever fields are described they are all: where a value stands that has some (the body, a property, an item),
   `unevaluatedProperties: false` is added, though Meta leaves many open. An object of no described field stays open.

All else is as Meta wrote it, but for `EXCEPTIONS`. A keyword that none of this knows is an error.
"""

import copy
import json
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema.protocols import Validator

from .whatsapp import SAMPLES

Schema = dict[str, Any]

DOCUMENT: Schema = json.loads((SAMPLES / "openapi" / "business-messaging-api_v23.0.json").read_bytes())
POST = ("paths", "/{Version}/{Phone-Number-ID}/messages", "post", "requestBody", "content", "application/json")
SCHEMAS = "#/components/schemas/"
# What holds no schema and says nothing about fields; OpenAPI 3.1 has it from https://json-schema.org/draft/2020-12
PLAIN = frozenset({"type", "enum", "required", "pattern", "format", "maxLength", "minItems", "maxItems"})
PLAIN |= {"$ref", "description", "example", "default"}
FIELDS = frozenset({"properties", "allOf", "oneOf", "anyOf"})
FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("int32")
def _int32(value: object) -> bool:
    """https://spec.openapis.org/registry/format/int32"""
    return not isinstance(value, int) or -(2**31) <= value < 2**31


@dataclass(frozen=True)
class Exempt:
    """Where Meta's document contradicts Meta: `patch` is merged in `at` (RFC 7396), and why."""

    why: str
    at: tuple[str | int, ...]
    patch: Schema


def _in(component: str, *steps: str | int) -> tuple[str | int, ...]:
    return ("components", "schemas", component, *steps)


def _one_more(name: str) -> Schema:
    return {"properties": {name: {"type": "string"}}}


DOCS = "https://developers.facebook.com/documentation/business-messaging/whatsapp"
OLD_DOCS = "https://developers.facebook.com/docs/whatsapp/cloud-api"
EXCEPTIONS = {
    "recipient": Exempt(
        f"who hides their number is reached by their user id, without `to`: {DOCS}/business-scoped-user-ids",
        _in("BaseMessageProperties"),
        {
            **_one_more("recipient"),
            "required": ["messaging_product", "recipient_type", "type"],
            "anyOf": [{"required": ["to"]}, {"required": ["recipient"]}],
        },
    ),
    "image caption": Exempt(
        f"a media object has an id or a link, and no more: {DOCS}/messages/image-messages",
        _in("ImageMessage", "allOf", 1, "properties", "image"),
        _one_more("caption"),
    ),
    "video caption": Exempt(
        f"as with the image, though its own example has it: {DOCS}/messages/video-messages",
        _in("VideoMessage", "allOf", 1, "properties", "video"),
        _one_more("caption"),
    ),
    "document caption": Exempt(
        f"as with the image, though its own example has it: {DOCS}/messages/document-messages",
        _in("DocumentMessage", "allOf", 1, "properties", "document"),
        _one_more("caption"),
    ),
    "document name": Exempt(
        f"as with the image, though its own example has it: {DOCS}/messages/document-messages",
        _in("DocumentMessage", "allOf", 1, "properties", "document"),
        _one_more("filename"),
    ),
    "name of a template's document": Exempt(
        f"as with the image: {OLD_DOCS}/reference/messages#media-object",
        _in("DocumentParameter", "allOf", 1, "properties", "document"),
        _one_more("filename"),
    ),
    "named parameter": Exempt(
        f"parameters have no names, only an order: {DOCS}/templates/overview",
        _in("TextParameter", "allOf", 1),
        _one_more("parameter_name"),
    ),
    "index of a component": Exempt(
        "its description says 0 to 9 and its example 0, but its pattern is ^[2-6, 11-14]$",
        _in("TemplateComponent", "properties", "index"),
        {"pattern": "^[0-9]$"},
    ),
    "index of a button": Exempt(
        "as with the component",
        _in("ButtonComponent", "allOf", 1, "properties", "index"),
        {"pattern": "^[0-9]$"},
    ),
    "read receipt": Exempt(
        f"its schema is there, but not as what is posted: {DOCS}/messages/mark-message-as-read",
        (*POST, "schema"),
        {"$ref": None, "oneOf": [{"$ref": f"{SCHEMAS}Message"}, {"$ref": f"{SCHEMAS}MarkMessageRequestPayload"}]},
    ),
    "typing indicator": Exempt(
        f"it is there as an example only: {DOCS}/typing-indicators",
        _in("MarkMessageRequestPayload", "properties"),
        {
            "typing_indicator": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"type": "string", "enum": ["text"]}},
            }
        },
    ),
}


def examples() -> dict[str, Schema]:
    """The bodies that the document itself has for examples, by their names in it."""
    found: Schema = copy.deepcopy(_found(DOCUMENT, (*POST, "examples")))
    return {name: example["value"] for name, example in found.items()}


def parameters(place: str) -> str:
    """What it says in words of a template's parameters in this place, which its schema does not."""
    (_, component) = _found(DOCUMENT, _in(f"{place.capitalize()}Component", "allOf"))
    words: str = component["properties"]["parameters"]["description"]
    return words


def as_it_is() -> Validator:
    """Of a posted message, with the document as Meta wrote it."""
    root = {"$ref": f"{SCHEMAS}Message", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(root)


def validator(without: str | None = None) -> Validator:
    """Of a posted body, with the document repaired, and with all of the exceptions or all but one."""
    document = copy.deepcopy(DOCUMENT)
    for name, exempt in EXCEPTIONS.items():
        if name != without:
            _merge(_found(document, exempt.at), exempt.patch)
    schemas = document["components"]["schemas"]
    root = _place(_found(document, (*POST, "schema")), schemas)
    found = {name: _schema(schema, schemas) for name, schema in schemas.items()}
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "components": {"schemas": found}}
    jsonschema.Draft202012Validator.check_schema(whole)
    return jsonschema.Draft202012Validator(whole, format_checker=FORMATS)


def _schema(schema: Schema, schemas: Schema) -> Schema:
    """This schema, repaired. Raises `ValueError` for a keyword that isn't known here."""
    found: Schema = {}
    for keyword, value in schema.items():
        match keyword:
            case "properties":
                found[keyword] = {name: _place(field, schemas) for name, field in value.items()}
            case "items":
                found[keyword] = _place(value, schemas)
            case "oneOf" | "anyOf":
                found[keyword] = [_schema(branch, schemas) for branch in value]
            case "allOf":
                branches = [_schema(part, schemas) for branch in value for part in _in_place(branch, schemas)]
                found[keyword] = [_opened(branch) for branch in branches]
                if found[keyword] != branches:
                    found["unevaluatedProperties"] = False
            case "discriminator" if "oneOf" not in schema:
                found["oneOf"] = [{"$ref": ref} for ref in value["mapping"].values()]
            case "discriminator":
                pass
            case _ if keyword in PLAIN or (keyword == "additionalProperties" and value is False):
                found[keyword] = value
            case _:
                raise ValueError(f"{keyword} is not translated")
    return found


def _place(schema: Schema, schemas: Schema) -> Schema:
    """A schema where a value stands, closed if it says which fields that has."""
    found = _schema(schema, schemas)
    if "additionalProperties" not in found and _has_fields(schema, schemas):
        found["unevaluatedProperties"] = False
    return found


def _in_place(branch: Schema, schemas: Schema) -> list[Schema]:
    """A branch of an `allOf` without references; a parent's choice among its kinds is none where one of them has it."""
    if "$ref" not in branch:
        return [branch]
    target = {keyword: value for keyword, value in _target(branch, schemas).items() if keyword != "discriminator"}
    rest = {keyword: value for keyword, value in branch.items() if keyword != "$ref"}
    return [*_in_place(target, schemas), *([rest] if rest else [])]


def _has_fields(schema: Schema, schemas: Schema) -> bool:
    if "$ref" in schema and _has_fields(_target(schema, schemas), schemas):
        return True
    return not FIELDS.isdisjoint(schema)


def _target(schema: Schema, schemas: Schema) -> Schema:
    target: Schema = schemas[schema["$ref"].removeprefix(SCHEMAS)]
    return target


def _opened(branch: Schema) -> Schema:
    closing = ("additionalProperties", "unevaluatedProperties")
    return {keyword: value for keyword, value in branch.items() if not (keyword in closing and value is False)}


def _found(document: Any, steps: tuple[str | int, ...]) -> Any:
    for step in steps:
        document = document[step]
    return document


def _merge(target: Schema, patch: Schema) -> None:
    """https://www.rfc-editor.org/rfc/rfc7396"""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        else:
            target[name] = value
