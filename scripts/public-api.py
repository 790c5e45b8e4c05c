"""Reads the JSON of rustdoc on standard input, and prints the public items of the crate, one line each, sorted. Without blanket and
automatic implementations. scripts/check-api.sh compares the lines."""

import json
import sys

crate = json.load(sys.stdin)
index = crate["index"]
lines = set()
seen = set()
reexports = []


def path_text(path):
    """Renders a path with its generic arguments."""
    return path["path"].split("::")[-1] + arguments(path.get("args"))


def arguments(args):
    """Renders generic arguments; nothing for none."""
    if not args:
        return ""
    if found := args.get("parenthesized"):
        output = f" -> {type_text(found['output'])}" if found["output"] else ""
        return f"({', '.join(map(type_text, found['inputs']))}){output}"
    given = args.get("angle_bracketed", {"args": [], "constraints": []})
    parts = []
    for one in given["args"]:
        kind, value = one if isinstance(one, tuple) else next(iter(one.items()))
        parts.append(type_text(value) if kind == "type" else value if kind == "lifetime" else value["expr"])
    for one in given["constraints"]:
        binding = one["binding"]
        term = binding.get("equality", {}).get("type")
        parts.append(f"{one['name']} = {type_text(term)}" if term else f"{one['name']}: {bounds(binding['constraint'])}")
    return f"<{', '.join(parts)}>" if parts else ""


def bounds(found):
    """Renders the bounds of a type."""
    texts = []
    for one in found:
        if trait := one.get("trait_bound"):
            texts.append(("?" if trait["modifier"] == "maybe" else "") + path_text(trait["trait"]))
        else:
            texts.append(str(next(iter(one.values()))))
    return " + ".join(texts)


def type_text(found):
    """Renders a type."""
    if not isinstance(found, dict):
        return "()" if found is None else str(found)
    kind, value = next(iter(found.items()))
    match kind:
        case "resolved_path":
            return path_text(value)
        case "generic" | "primitive":
            return value
        case "borrowed_ref":
            lifetime = f"{value['lifetime']} " if value["lifetime"] else ""
            return f"&{lifetime}{'mut ' if value['is_mutable'] else ''}{type_text(value['type'])}"
        case "raw_pointer":
            return f"*{'mut' if value['is_mutable'] else 'const'} {type_text(value['type'])}"
        case "tuple":
            return f"({', '.join(map(type_text, value))})"
        case "slice":
            return f"[{type_text(value)}]"
        case "array":
            return f"[{type_text(value['type'])}; {value['len']}]"
        case "impl_trait":
            return f"impl {bounds(value)}"
        case "dyn_trait":
            traits = [path_text(one["trait"]) for one in value["traits"]] + [value["lifetime"]] * bool(value["lifetime"])
            return f"dyn {' + '.join(traits)}"
        case "function_pointer":
            return "fn" + signature(value["sig"])
        case "qualified_path":
            trait = f" as {path_text(value['trait'])}" if value.get("trait") else ""
            return f"<{type_text(value['self_type'])}{trait}>::{value['name']}"
        case _:
            return kind


def signature(found):
    """Renders the inputs and the output of a function."""
    inputs = ", ".join(f"{name}: {type_text(one)}" for name, one in found["inputs"])
    return f"({inputs})" + (f" -> {type_text(found['output'])}" if found["output"] else "")


def generics(found):
    """Renders generic parameters with their bounds, and where clauses."""
    parts = []
    for one in found["params"]:
        kind, value = next(iter(one["kind"].items()))
        if kind == "type" and value.get("is_synthetic"):
            continue
        limits = bounds(value.get("bounds") or []) if kind == "type" else type_text(value["type"]) if kind == "const" else ""
        parts.append(one["name"] + (f": {limits}" if limits else ""))
    for one in found["where_predicates"]:
        if where := one.get("bound_predicate"):
            parts.append(f"where {type_text(where['type'])}: {bounds(where['bounds'])}")
    return f"<{', '.join(parts)}>" if parts else ""


def is_public(item):
    return item["visibility"] in ("public", "default")


def walk(identifier, path, within=(), renamed=None):
    """Notes an item, which users find below `path`, and the items in it."""
    item = index.get(str(identifier))
    if item is None or identifier in within or not is_public(item):
        return
    kind, inner = next(iter(item["inner"].items()))
    name = f"{path}::{renamed or item['name']}" if path else item["name"]
    seen.add(identifier)
    within = (*within, identifier)
    children = []
    if "non_exhaustive" in json.dumps(item["attrs"]):
        lines.add(f"#[non_exhaustive] {name}")
    match kind:
        case "use":
            target = index.get(str(inner["id"]))
            if inner["is_glob"] and target:
                children = next(iter(target["inner"].values())).get("items", [])
                for child in children:
                    walk(child, path, within)
            else:
                reexports.append((f"{path}::{inner['name']}", inner["source"], inner["id"]))
            return
        case "module":
            lines.add(f"mod {name}")
            children = inner["items"]
        case "struct":
            lines.add(f"struct {name}{generics(inner['generics'])}")
            shape = inner["kind"]
            if isinstance(shape, dict):
                children = shape["plain"]["fields"] if "plain" in shape else [one for one in shape["tuple"] if one is not None]
        case "enum":
            lines.add(f"enum {name}{generics(inner['generics'])}")
            children = inner["variants"]
        case "variant":
            lines.add(f"variant {name}")
            shape = inner["kind"]
            if isinstance(shape, dict):
                children = shape["struct"]["fields"] if "struct" in shape else [one for one in shape["tuple"] if one is not None]
        case "trait":
            lines.add(f"trait {name}{generics(inner['generics'])}: {bounds(inner['bounds'])}")
            children = inner["items"]
        case "struct_field":
            lines.add(f"field {name}: {type_text(inner)}")
        case "function":
            lines.add(f"fn {name}{generics(inner['generics'])}{signature(inner['sig'])}")
        case "constant":
            lines.add(f"const {name}: {type_text(inner['type'])}")
        case "type_alias":
            lines.add(f"type {name} = {type_text(inner['type'])}")
        case _:
            lines.add(f"{kind} {name}")
    for child in children:
        walk(child, name, within)
    for one in inner.get("impls", []) if isinstance(inner, dict) else []:
        implementation = index.get(str(one), {}).get("inner", {}).get("impl")
        if not implementation or implementation["is_synthetic"] or implementation["blanket_impl"]:
            continue
        if implementation["trait"]:
            if not kind == "trait":
                lines.add(f"impl {path_text(implementation['trait'])} for {name}")
        else:
            for child in implementation["items"]:
                walk(child, name, within)


walk(crate["root"], "")
# An item of a private module is public where it is exported again, once.
while reexports:
    waiting, reexports = sorted(reexports), []
    for name, source, identifier in waiting:
        if identifier not in seen and str(identifier) in index:
            walk(identifier, name.rpartition("::")[0], renamed=name.rpartition("::")[2])
        else:
            lines.add(f"use {name} = {source}")
print(*sorted(lines), sep="\n")
