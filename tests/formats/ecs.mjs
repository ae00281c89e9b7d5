// Holds events against the published ECS field list and against our index template: one JSON object a line on standard
// input, one problem a line on standard output, then how many events were checked.
//
// usage: ecs.mjs ECS_PACKAGE TEMPLATE...
//
// The field list is the npm package @elastic/ecs: names, types, which fields are lists, allowed words, and which types
// of event go with which category. Fields under `aws.` and `labels.` are no ECS; every field, those too, must have a
// type in each template.

import { createRequire } from "node:module";
import { isIP } from "node:net";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [ecs, ...templates] = process.argv.slice(2);
const { EcsFlat, EcsVersion } = createRequire(import.meta.url)(ecs);

const text = (value) => typeof value === "string";
const fits = {
  keyword: text,
  constant_keyword: text,
  wildcard: text,
  match_only_text: text,
  text,
  long: (value) => Number.isInteger(value) && value >= 0,
  byte: (value) => Number.isInteger(value) && value >= -128 && value <= 127,
  boolean: (value) => typeof value === "boolean",
  date: (value) => text(value) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value) && !isNaN(Date.parse(value)),
  ip: (value) => text(value) && isIP(value) !== 0,
  ip_range: (value) => text(value) && isIP(value.split("/")[0]) !== 0 && /\/\d{1,3}$/.test(value),
};

// What an index would do with a field: a mapping is looked for level by level.
function mapped(template, path, value) {
  let node = template.template.mappings;
  for (const name of path.split(".")) {
    if (node.type === "flattened" || node.type === "flat_object") return null;
    if (node.dynamic === true) return text(value) ? null : `${JSON.stringify(value)} is no label`;
    node = node.properties?.[name];
    if (!node) return "has no type in the template";
  }
  if (node.type === "flattened" || node.type === "flat_object" || node.type === "object") return null;
  const check = fits[node.type];
  if (!check) return `has the type ${node.type}, which this check does not know`;
  const bad = [value].flat().filter((item) => !check(item));
  return bad.length ? `${JSON.stringify(bad[0])} is no ${node.type}` : null;
}

function* leaves(value, path, flat) {
  if (value === null) {
    yield [path, value];
  } else if (flat(path) || typeof value !== "object") {
    yield [path, value];
  } else if (Array.isArray(value)) {
    if (value.some((item) => typeof item === "object")) for (const item of value) yield* leaves(item, path, flat);
    else yield [path, value];
  } else {
    for (const [name, inner] of Object.entries(value)) {
      if (path !== "" && name.includes(".")) yield [`${path}.${name}`, inner];
      else yield* leaves(inner, path ? `${path}.${name}` : name, flat);
    }
  }
}

function* published(path, value) {
  const field = EcsFlat[path];
  if (!field) return yield `${path}: ECS has no such field`;
  if (field.normalize.includes("array") !== Array.isArray(value)) yield `${path}: a list where none is expected, or none`;
  for (const item of [value].flat()) {
    if (!fits[field.type]?.(item)) yield `${path}: ${JSON.stringify(item)} is no ${field.type}`;
    if (field.allowed_values && !field.allowed_values.some((word) => word.name === item)) {
      yield `${path}: ${JSON.stringify(item)} is not allowed`;
    }
  }
}

function* categorised(event) {
  for (const name of ["id", "kind", "category", "type", "action", "outcome"]) {
    if (event?.[name] === undefined) yield `event.${name}: missing`;
  }
  const words = EcsFlat["event.category"].allowed_values;
  const expected = [event?.category ?? []].flat().map((name) => words.find((word) => word.name === name)?.expected_event_types ?? []);
  for (const type of [event?.type ?? []].flat()) {
    if (!expected.some((types) => types.includes(type))) yield `event.type: ${type} is not expected with ${event.category}`;
  }
}

const loaded = templates.map((path) => [path, JSON.parse(readFileSync(path, "utf8"))]);
const flat = (path) => path === "aws.vpn.tags";
let count = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  count += 1;
  const found = [...categorised(event.event)];
  if (event.ecs?.version !== EcsVersion) found.push(`ecs.version: not ${EcsVersion}`);
  if (!event["@timestamp"]) found.push("@timestamp: missing");
  for (const [path, value] of leaves(event, "", flat)) {
    if (value === null) found.push(`${path}: null`);
    if (!/^(aws|labels)\./.test(path)) found.push(...published(path, value));
    for (const [name, template] of loaded) {
      const problem = mapped(template, path, value);
      if (problem) found.push(`${path}: ${problem} (${name})`);
    }
  }
  for (const problem of found) console.log(`line ${count}: ${problem}`);
}
console.log(`checked ${count}`);
