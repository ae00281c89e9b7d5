"""Holds events against the published OCSF class schemas: one JSON object a line on standard input, one problem a line
on standard output, then how many events were checked.

The schemas come from the package ocsf-json-schema (every class closed: unknown fields are problems), the validator is
jsonschema. Beyond JSON Schema: an `…_id` and its caption must agree, and nothing deprecated may be used.
"""

import json
import sys

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.8.0"
published = get_ocsf_schema(VERSION)
schemas = OcsfJsonSchemaEmbedded(published)
validators = {}


def validator(class_uid, profiles):
    key = (class_uid, tuple(profiles))
    if key not in validators:
        name = schemas.lookup_class_name_from_uid(class_uid)
        schema = schemas.get_class_schema(name, list(profiles))
        if schema.get("additionalProperties") is not False:
            raise SystemExit(f"the schema of {name} is not closed: it would accept anything")
        Draft202012Validator.check_schema(schema)
        validators[key] = (published["classes"][name]["attributes"], Draft202012Validator(schema))
    return validators[key]


def captions(attributes, value, path):
    """Where a number and its caption differ, and what is deprecated."""
    for name, field in value.items():
        attribute = attributes.get(name)
        if attribute is None:
            continue  # unknown: the validator has said so
        if "@deprecated" in attribute:
            yield f"{path}{name}: deprecated"
        entry = attribute.get("enum", {}).get(str(field)) if not isinstance(field, (dict, list)) else None
        sibling = attribute.get("sibling")
        # 99 is "Other": its text is the source's own. The caption of type_uid is the name of its type.
        if entry and sibling in value and field != 99 and value[sibling] != entry["caption"]:
            yield f"{path}{sibling}: `{value[sibling]}` is not the caption `{entry['caption']}` of {name} {field}"
        inner = published["objects"].get(attribute.get("object_type", ""), {}).get("attributes")
        if inner and attribute["object_type"] != "object":
            for item in field if isinstance(field, list) else [field]:
                yield from captions(inner, item, f"{path}{name}.") if isinstance(item, dict) else ()


def observables(event):
    """An observable points to a field of the event, and has its value."""
    for number, observable in enumerate(event.get("observables", [])):
        found = event
        for name in observable.get("name", "").split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None or str(found) != observable.get("value"):
            yield f"observables[{number}]: {observable.get('name')} is {found!r}, not {observable.get('value')!r}"


def problems(event):
    try:
        attributes, found = validator(event["class_uid"], event["metadata"].get("profiles", []))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"no class: {error!r}"
        return
    for error in found.iter_errors(event):
        yield f"{error.json_path}: {error.message[:300]}"
    if event["metadata"].get("version") != VERSION:
        yield f"metadata.version is not {VERSION}"
    if event.get("type_uid") != event.get("class_uid", 0) * 100 + event.get("activity_id", 0):
        yield "type_uid is not class_uid * 100 + activity_id"
    yield from captions(attributes, event, "")
    yield from observables(event)


count = 0
for number, line in enumerate(sys.stdin, 1):
    for problem in problems(json.loads(line)):
        print(f"line {number}: {problem}")
    count = number
print(f"checked {count}")
