"""The reference of the API as Markdown: every service, message and enum of the protos, with their comments."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor

PACKAGE = "kdaif_proto.v1"
_TYPES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
_DECLARED = re.compile(r"^(?P<kind>message|enum|service|rpc|oneof)\s+(?P<name>\w+)")
_MEMBER = re.compile(r"^(?:repeated |optional |map<[^>]*> )?[\w.]*\s*(?P<name>\w+)\s*=\s*\d+")


def proto_reference(root: Path) -> str:
    """One page of all the protos below ``root``."""
    sys.path.insert(0, str(root))
    names = sorted(file.stem for file in (root / PACKAGE.replace(".", "/")).glob("*.proto"))
    files = {name: importlib.import_module(f"{PACKAGE}.{name}_pb2").DESCRIPTOR for name in names}
    lines = [
        "# Protos",
        "",
        "The package `kdaif.v1`, made of the files in `proto/kdaif_proto/v1`. Any language with gRPC can call it;",
        "[a program that uses kdaif](../sdk.md) shows how from Node and by reflection.",
    ]
    for name, file in files.items():
        comments = comments_of((root / file.name).read_text())
        lines += ["", f"## {name}.proto", *_file(file, comments)]
    return "\n".join(lines) + "\n"


def comments_of(source: str) -> dict[str, str]:
    """The comment before each declaration, or behind it, by its full name within the file."""
    found: dict[str, str] = {}
    path: list[str] = []
    pending: list[str] = []
    for raw in source.splitlines():
        code, _, behind = raw.partition("//")
        line = code.strip()
        if not line:
            pending = [*pending, behind.strip()] if "//" in raw else []
            continue
        declared, member = _DECLARED.match(line), _MEMBER.match(line)
        name = (declared or member or {"name": ""})["name"]
        if name:
            inside = [part for part in path if part]
            found[".".join([*inside, name])] = " ".join([*pending, *([behind.strip()] if behind else [])])
        pending = []
        opened = line.count("{") - line.count("}")
        if opened > 0:
            # A oneof has no name in the path of its fields.
            path.append("" if not declared or declared["kind"] == "oneof" else declared["name"])
        elif opened < 0:
            path.pop()
    return found


def _file(file: FileDescriptor, comments: dict[str, str]) -> Iterator[str]:
    for service in file.services_by_name.values():
        yield from ("", f"### {service.name}", "", comments.get(service.name, ""), "")
        yield from ("| call | takes | answers | |", "|---|---|---|---|")
        for method in service.methods:
            yield _call(method, comments.get(f"{service.name}.{method.name}", ""))
    for message in file.message_types_by_name.values():
        yield from _message(message, message.name, comments)
    for enum in file.enum_types_by_name.values():
        yield from _enum(enum, enum.name, comments)


def _call(method: MethodDescriptor, comment: str) -> str:
    takes, answers = (
        ("stream of " if streamed else "") + _link(kind)
        for streamed, kind in (
            (method.client_streaming, method.input_type),
            (method.server_streaming, method.output_type),
        )
    )
    return f"| `{method.name}` | {takes} | {answers} | {_cell(comment)} |"


def _message(message: Descriptor, path: str, comments: dict[str, str]) -> Iterator[str]:
    if message.GetOptions().map_entry:
        return
    yield from ("", f"### {path} {{ #{_anchor(message.full_name)} }}", "", comments.get(path, ""), "")
    if message.fields:
        yield from ("| field | type | |", "|---|---|---|")
    for field in message.fields:
        yield f"| `{field.name}` | {_type(field)} | {_cell(comments.get(f'{path}.{field.name}', ''))} |"
    for nested in message.nested_types:
        yield from _message(nested, f"{path}.{nested.name}", comments)
    for enum in message.enum_types:
        yield from _enum(enum, f"{path}.{enum.name}", comments)


def _enum(enum: EnumDescriptor, path: str, comments: dict[str, str]) -> Iterator[str]:
    yield from ("", f"### {path} {{ #{_anchor(enum.full_name)} }}", "", comments.get(path, ""), "")
    yield from ("| value | number | |", "|---|---|---|")
    for value in enum.values:
        yield f"| `{value.name}` | {value.number} | {_cell(comments.get(f'{path}.{value.name}', ''))} |"


def _type(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = message.fields_by_name["key"], message.fields_by_name["value"]
        return f"map of {_type(key)} to {_type(value)}"
    plain = _link(message or field.enum_type) if message or field.enum_type else f"`{_TYPES[field.type]}`"
    choice = field.containing_oneof
    if choice is not None and not choice.name.startswith("_"):
        return f"{plain}, one of `{choice.name}`"
    if field.is_repeated:
        return f"{plain}, repeated"
    return f"{plain}, optional" if choice is not None else plain


def _link(kind: Descriptor | EnumDescriptor) -> str:
    name = kind.full_name.removeprefix("kdaif.v1.")
    return f"[`{name}`](#{_anchor(kind.full_name)})" if name != kind.full_name else f"`{name}`"


def _anchor(full_name: str) -> str:
    return full_name.removeprefix("kdaif.v1.").replace(".", "-").lower() + "-message"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(proto_reference(Path(__file__).parent.parent / "proto"))
