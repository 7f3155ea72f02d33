#!/usr/bin/env python3
"""Cuts `ndis-facts.json` down to what this crate binds.

    tests/extract-facts.py FULL-FACTS.json > tests/ndis-facts.json

The full facts were measured, not transcribed: 14 generations of the WDK's headers (6001 to 26100)
were compiled for x64 Windows with clang (MSVC ABI), once for each NDIS version they support, and
again with gcc's ms-bitfields layout; both agree on every size, offset, bit and value. Kept here, for
the names found in `src/`: the layouts for NDIS 6.1, 6.20 and 6.30 (newest headers), the values, the
enumerations, the Type/Revision/Size rules, and the parameter types of functions and callbacks.
"""

import json
import pathlib
import re
import sys

VERSIONS = ["6.1", "6.20", "6.30"]

facts = json.load(open(sys.argv[1]))
source = "\n".join(path.read_text() for path in sorted((pathlib.Path(__file__).parent.parent / "src").glob("*.rs")))
words = set(re.findall(r"\w+", source))


def bound(group):
    return {name: value for name, value in sorted(facts[group].items()) if name in words}


def layout(variant):
    fields = []
    for field in variant["fields"]:
        row = [field["name"], field["offset"], field["size"], field["type"]]
        if "bit_offset" in field:
            row += [field["bit_offset"], field["bit_width"]]
        fields.append(row)
    return {"size": variant["size"], "align": variant["align"], "fields": fields}


def structure(struct):
    index = struct["variant_index_by_ndis"]
    return {v: layout(struct["variants"][index[v]]) for v in VERSIONS if v in index}


def at(item, version):
    """The value of a constant or enumerator when compiled for `version`."""
    for variant in item.get("varies", []):
        if version in variant["ndis"]:
            return variant["value"]
    return item["value"]


def signature(function):
    return {"parameters": [p["type"] for p in function["params"]], "result": function["ret"]}


def least_size(revision):
    return min([revision["size"]] + [v["value"] for v in revision.get("size_variants", [])])


info = facts["enums"]["NDIS_NET_BUFFER_LIST_INFO"]["values"]["MaxNetBufferListInfo"]
result = {
    "structs": {name: structure(struct) for name, struct in bound("structs").items()},
    "constants": {
        name: at(value, "6.30")
        for group in ("constants", "wdm_constants")
        for name, value in bound(group).items()
    },
    "enums": {
        name: {k: at(v, "6.30") for k, v in enum["values"].items()} for name, enum in bound("enums").items()
    },
    "object_header_rules": {
        name: {
            "type": rule["type"],
            "revisions": [[r["revision"], r["ndis_min"], r["size"], least_size(r)] for r in rule["revisions"]],
        }
        for name, rule in bound("object_header_rules").items()
    },
    "functions": {name: signature(f) for name, f in bound("functions").items()},
    "callbacks": {name: signature(f) for name, f in bound("callbacks").items()},
    "max_net_buffer_list_info": {v: at(info, v) for v in VERSIONS},
    "kmdf": {
        name: {"index": f["index"], "parameters": len(f["table_params"])}
        for name, f in sorted(facts["kmdf"]["functions"].items())
        if name in words
    },
}

# One line for each item, so that a change can be read.
print("{")
for i, (group, items) in enumerate(result.items()):
    print(f" {json.dumps(group)}: {{")
    print(",\n".join(f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in items.items()))
    print(" }," if i + 1 < len(result) else " }")
print("}")
