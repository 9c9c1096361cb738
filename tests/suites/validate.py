#!/usr/bin/python3
"""Validates documents against docs/schema, with python3-jsonschema: validate.py <DOCUMENTS

Reads one document a line and answers each with a line: nothing if it is valid, else the first error. Exits with 1 after an error. The schema is the one
with which the document shares most required fields.
"""

import json
import pathlib
import sys

import jsonschema

schemas = [json.loads(path.read_text()) for path in pathlib.Path(__file__).parents[2].glob("docs/schema/*.json")]
for schema in schemas:
    jsonschema.Draft202012Validator.check_schema(schema)


def error(document):
    shared = [len(set(schema["required"]) & set(document)) for schema in schemas]
    schema = schemas[shared.index(max(shared))]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return next((f"{schema['title']}, {error.json_path}: {error.message}" for error in errors), "")


if __name__ == "__main__":
    print(len(schemas), flush=True)
    invalid = False
    for line in sys.stdin:
        found = error(json.loads(line))
        invalid |= bool(found)
        print(found, flush=True)
    sys.exit(invalid)
