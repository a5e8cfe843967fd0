"""The contract as it is printed."""

import json

import pytest
from click.testing import CliRunner

from sluiceway.cli import group
from sluiceway_contracts.asyncapi import asyncapi
from sluiceway_contracts.schema import json_schema


def test_the_whole_schema_is_the_contracts() -> None:
    assert json.loads(CliRunner().invoke(group, ["schema"]).output) == json_schema()


@pytest.mark.parametrize("type", ["message.received", "sluiceway.message.received"])
def test_one_types_schema_is_found_by_its_long_and_its_short_name(type: str) -> None:
    assert json.loads(CliRunner().invoke(group, ["schema", type]).output) == json_schema("sluiceway.message.received")


def test_the_asyncapi_document_is_the_contracts() -> None:
    assert json.loads(CliRunner().invoke(group, ["schema", "--asyncapi"]).output) == asyncapi()
