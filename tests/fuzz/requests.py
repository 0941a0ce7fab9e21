"""Requests nobody sends: every field of every message, with names that are there, tokens and filters that are cut."""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

_DEEPEST = 4
_COLUMNS = ["id", "weight", "influence", "label", "round", "`a b`", "kd", "x" * 300, "1a", "é"]
_HOSTILE = [
    *("", " ", "\x00", "../../etc/passwd", "..", "%00", "tenants/", "tenants//datasets/", "tenants/default/"),
    *("tenants/../datasets/x", "tenants/default/datasets/..", "tenants/Default", "tenants/default/lines/x\n"),
    *("{", "}", "{default}", "*", "$(id)", "`id`", "'; DROP TABLE x; --", "\u202e", "\ud7ff", "🦉" * 100, "a" * 5000),
    *("file:///etc/passwd", "file://../x", "s3://", "s3://b/../k", "http://127.0.0.1:1/", "file:///proc/self/environ"),
    *("NaN", "-0", "1e400", "null", "true", "0" * 32, "0" * 26, "f" * 64),
]


def texts(known: list[str]) -> st.SearchStrategy[str]:
    """Names that are there, hostile ones, filters, tokens, and noise."""
    return st.one_of(
        st.sampled_from(known or [""]), st.sampled_from(_HOSTILE), filters(), tokens(), st.text(max_size=40)
    )


def filters() -> st.SearchStrategy[str]:
    """From the words of the grammar, in any order and depth."""
    value = st.one_of(
        st.floats().map(str),
        st.integers().map(str),
        st.text(max_size=8).map(lambda text: f'"{text}"'),
        st.text(max_size=8).map(lambda text: "'" + text.replace("'", "\\'") + "'"),
        st.sampled_from(["NULL", "0x1", "1e999", "''", '"\\']),
    )
    compared = st.tuples(
        st.sampled_from(_COLUMNS), st.sampled_from(["<", "<=", "=", "!=", ">", ">=", "IN", "NOT IN", "=="]), value
    ).map(" ".join)
    whole = st.recursive(
        compared,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["AND", "OR", "and", "NOT"]), inner).map(" ".join),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"NOT {text}"),
        ),
        max_leaves=8,
    )
    deep = st.integers(1, 3000).map(lambda depth: "(" * depth + "weight > 1" + ")" * depth)
    ordered = st.sampled_from(["weight desc", "id", "weight desc, id", "weight sideways", "desc", ","])
    return st.one_of(whole, deep, ordered)


def tokens() -> st.SearchStrategy[str]:
    """Of the form of ours, with something else inside."""
    inside = st.one_of(
        st.binary(max_size=40),
        st.tuples(st.integers(), st.text(max_size=20)).map(lambda pair: f"{pair[0]}:{pair[1]}".encode()),
        st.sampled_from([b"99999999999999999999:0", b"-1:", b":", b"\xb2:", b"1:" + b"0" * 16]),
    )
    return st.one_of(inside.map(lambda data: base64.urlsafe_b64encode(data).decode()), st.just("===="))


def messages(kind: Descriptor, known: list[str], depth: int = 0) -> st.SearchStrategy[Any]:
    """Any message of a kind, most fields unset."""
    fields = {
        field.name: st.one_of(st.none(), _field(field, known, depth))
        for field in kind.fields
        if depth < _DEEPEST or field.message_type is None
    }
    return st.fixed_dictionaries(fields).map(lambda values: _built(kind, values))


def _built(kind: Descriptor, values: dict[str, Any]) -> Any:
    message = message_factory.GetMessageClass(kind)()
    for name, value in values.items():
        if value is None:
            continue
        field = kind.fields_by_name[name]
        if _is_map(field):
            for key, each in value:
                if field.message_type.fields_by_name["value"].message_type is not None:
                    getattr(message, name)[key].CopyFrom(each)
                else:
                    getattr(message, name)[key] = each
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif field.message_type is not None:
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _field(field: FieldDescriptor, known: list[str], depth: int) -> st.SearchStrategy[Any]:
    if _is_map(field):
        inner = field.message_type.fields_by_name
        pair = st.tuples(_value(inner["key"], known, depth), _value(inner["value"], known, depth))
        return st.lists(pair, max_size=3)
    value = _value(field, known, depth)
    return st.lists(value, max_size=3) if field.is_repeated else value


def _value(field: FieldDescriptor, known: list[str], depth: int) -> st.SearchStrategy[Any]:
    kinds = FieldDescriptor
    if field.message_type is not None:
        return messages(field.message_type, known, depth + 1)
    if field.enum_type is not None:
        return st.one_of(st.sampled_from([each.number for each in field.enum_type.values]), st.integers(-5, 1000))
    if field.cpp_type == kinds.CPPTYPE_STRING:
        return st.binary(max_size=200) if field.type == kinds.TYPE_BYTES else texts(known)
    if field.cpp_type == kinds.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (kinds.CPPTYPE_DOUBLE, kinds.CPPTYPE_FLOAT):
        return st.floats(width=32)
    bits = 64 if field.cpp_type in (kinds.CPPTYPE_INT64, kinds.CPPTYPE_UINT64) else 32
    unsigned = field.cpp_type in (kinds.CPPTYPE_UINT64, kinds.CPPTYPE_UINT32)
    least, most = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.one_of(st.integers(0, 100), st.integers(least, most), st.sampled_from([least, most]))
