"""The filter of a listing, such as ``group_sex = "F" AND weight < 0.2``, as a condition with bound parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from kdaif.errors import InvalidInputError
from kdaif_server.weights.engine import quoted

MOST_CHARACTERS = 4_000
MOST_NESTED = 50
MOST_VALUES = 1_000

_GRAMMAR = r"""
    ?start: any
    ?any: all (_OR all)*                            -> any_of
    ?all: item (_AND item)*                         -> all_of
    ?item: _NOT item                                -> negated
         | "(" any ")"                              -> nested
         | COLUMN OPERATOR value                    -> compared
         | COLUMN _IN "(" value ("," value)* ")"    -> among
         | COLUMN _NOT _IN "(" value ("," value)* ")" -> not_among
    value: STRING -> text | NUMBER -> number | _NULL -> null
    _AND.2: /AND\b/i
    _OR.2: /OR\b/i
    _NOT.2: /NOT\b/i
    _IN.2: /IN\b/i
    _NULL.2: /NULL\b/i
    OPERATOR: "<=" | ">=" | "!=" | "<" | ">" | "="
    COLUMN: /[A-Za-z_][A-Za-z0-9_.-]*/ | /`[^`]+`/
    NUMBER: /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
    STRING: /"(?:[^"\\]|\\.)*"/ | /'(?:[^'\\]|\\.)*'/
    %import common.WS
    %ignore WS
"""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

Kind = Literal["text", "integer", "number"]


@dataclass(frozen=True)
class Condition:
    """An SQL condition made of quoted known columns and of placeholders; the values stand in ``parameters``."""

    sql: str
    parameters: tuple[Any, ...] = ()
    depth: int = 0


EVERY_ROW = Condition("TRUE")


def parse_filter(text: str, schema: pa.Schema) -> Condition:
    """The condition of a filter; an empty one holds for every row.

    A comparison with a missing value does not hold, ``!=`` and ``NOT`` of it do: NOT (truth = "cat") is every row whose
    truth is not known to be cat.

    Args:
        text: comparisons ``column operator value`` and ``column [NOT] IN (value, ...)``, joined by AND, OR, NOT and
            parentheses. Text stands in single or double quotes, with a backslash before a quote. ``= NULL`` and
            ``!= NULL`` ask for missing values. A column of an unusual name stands in backticks.
        schema: of the shard, which says the columns there are.

    Raises:
        InvalidInputError: the filter cannot be read, names no column, or compares one with a value of another type.
    """
    if not text.strip():
        return EVERY_ROW
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"has {len(text):,} characters; use at most {MOST_CHARACTERS:,}")
    try:
        found: Any = _parser(tuple(kinds(schema).items())).parse(text)
    except UnexpectedInput as error:
        at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
        place = error.pos_in_stream or 0
        where = "at its end" if at_end else f"at {text[place : place + 20]!r}"
        raise _refused(
            f'cannot be read {where}; write conditions such as weight < 0.2 AND pseudo_label = "cat"'
        ) from error
    except VisitError as error:
        raise error.orig_exc from error
    condition: Condition = found
    return condition


def kinds(schema: pa.Schema) -> dict[str, Kind]:
    """The columns that can be filtered by, and what they hold."""

    def kind(type_: pa.DataType) -> Kind:
        if pa.types.is_floating(type_):
            return "number"
        return "integer" if pa.types.is_integer(type_) else "text"

    return {field.name: kind(field.type) for field in schema}


@lru_cache(maxsize=64)
def _parser(columns: tuple[tuple[str, Kind], ...]) -> Lark:
    return Lark(_GRAMMAR, parser="lalr", transformer=_Conditions(dict(columns)))


@v_args(inline=True)
class _Conditions(Transformer[Token, Condition]):
    """Runs while the text is parsed, so that no tree of the user's depth is ever walked."""

    def __init__(self, columns: dict[str, Kind]) -> None:
        super().__init__()
        self._kinds = columns

    def text(self, token: Token) -> str:
        return _ESCAPE.sub(r"\1", str(token)[1:-1])

    def number(self, token: Token) -> float | int:
        written = str(token)
        return int(written) if re.fullmatch(r"[+-]?\d{1,18}", written) else float(written)

    def null(self) -> None:
        return None

    def compared(self, column: Token, operator: Token, value: Any) -> Condition:
        name, kind = self._known(column)
        column_sql = quoted(name)
        if value is None:
            if operator not in ("=", "!="):
                raise _refused(f"compares {name!r} {operator} NULL; a missing value is only = or != NULL")
            return Condition(f"{column_sql} IS {'' if operator == '=' else 'NOT '}NULL")
        _check_type(name, kind, value)
        if kind == "text" and operator not in ("=", "!="):
            raise _refused(f"compares the text {name!r} by {operator}; use =, != or IN")
        if operator == "!=":
            return Condition(f"({column_sql} <> ? OR {column_sql} IS NULL)", (value,))
        return Condition(f"{column_sql} {operator} ?", (value,))

    def among(self, column: Token, *values: Any) -> Condition:
        name, kind = self._known(column)
        if len(values) > MOST_VALUES:
            raise _refused(f"lists {len(values):,} values of {name!r}; use at most {MOST_VALUES:,}")
        for value in values:
            if value is None:
                raise _refused(f"lists NULL among values of {name!r}; write {name} = NULL OR {name} IN (...)")
            _check_type(name, kind, value)
        return Condition(f"{quoted(name)} IN ({', '.join('?' * len(values))})", values)

    def not_among(self, column: Token, *values: Any) -> Condition:
        return self.negated(self.among(column, *values))

    def negated(self, inner: Condition) -> Condition:
        # A missing value makes the inside NULL, which counts as false.
        return _deeper(f"(NOT coalesce({inner.sql}, FALSE))", (inner,))

    def nested(self, inner: Condition) -> Condition:
        return _deeper(inner.sql, (inner,))

    def all_of(self, *items: Condition) -> Condition:
        return items[0] if len(items) == 1 else _deeper(f"({' AND '.join(item.sql for item in items)})", items)

    def any_of(self, *items: Condition) -> Condition:
        return items[0] if len(items) == 1 else _deeper(f"({' OR '.join(item.sql for item in items)})", items)

    def _known(self, column: Token) -> tuple[str, Kind]:
        name = str(column).strip("`")
        if name not in self._kinds:
            raise _refused(f"names {name!r}, which is no column of this job; there are {', '.join(self._kinds)}")
        return name, self._kinds[name]


def _deeper(sql: str, items: tuple[Condition, ...]) -> Condition:
    depth = 1 + max(item.depth for item in items)
    if depth > MOST_NESTED:
        raise _refused(f"is nested more than {MOST_NESTED} deep; simplify it")
    return Condition(sql, tuple(value for item in items for value in item.parameters), depth)


def _check_type(name: str, kind: Kind, value: Any) -> None:
    if kind == "text" and not isinstance(value, str):
        raise _refused(f"compares the text {name!r} with {value}; put the value in quotes")
    if kind != "text" and isinstance(value, str):
        raise _refused(f"compares the number {name!r} with {value!r}; leave the quotes away")


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError.of("filter", why)
