"""Rows of a CSV, of JSON lines or of a folder of pictures, a batch at a time, as a student takes them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kdaif_client.errors import InvalidArgument, NotFound

_PICTURES = frozenset({".png", ".jpg", ".jpeg"})


@dataclass(frozen=True)
class Batch:
    """Some rows: what each is called in the answer, and what ``Student`` takes of them."""

    names: Sequence[str | int]
    X: Any


def batches(source: Path, told: Mapping[str, Any], batch_rows: int) -> Iterator[Batch]:
    """The rows of ``source``, in order. Rows of files are called by their number, from 0; pictures by their path.

    Args:
        source: a .csv, a .jsonl or .ndjson, or a folder, whose pictures are taken with those of its folders.
        told: ``input`` of the manifest.
        batch_rows: how many rows a batch has at most.

    Raises:
        NotFound: there is nothing at ``source``.
        InvalidArgument: it is not what this student takes; names the line.
    """
    if not source.exists():
        raise NotFound(f"There is no file or folder {source}.")
    if (told["kind"] == "image") != source.is_dir():
        wanted = "a folder of PNG or JPEG files" if told["kind"] == "image" else "a .csv or .jsonl file"
        raise InvalidArgument.of("input", f"is {source}, and this student takes {wanted}")
    if source.is_dir():
        yield from _pictures(source, batch_rows)
    elif source.suffix.lower() == ".csv":
        yield from _of_rows(_csv_rows(source, told), told["columns"], batch_rows)
    elif source.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _of_rows(_json_rows(source, told["columns"]), told["columns"], batch_rows)
    else:
        raise InvalidArgument.of("input", f"is {source}; its name has to end in .csv, .jsonl or .ndjson")


def _pictures(folder: Path, batch_rows: int) -> Iterator[Batch]:
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _PICTURES and file.is_file())
    if not files:
        raise InvalidArgument.of("input", f"is {folder}, which holds no .png, .jpg or .jpeg")
    for some in _groups(iter(files), batch_rows):
        yield Batch([file.relative_to(folder).as_posix() for file in some], list(some))


def _of_rows(rows: Iterator[Sequence[Any]], columns: Sequence[str], batch_rows: int) -> Iterator[Batch]:
    start = 0
    for some in _groups(rows, batch_rows):
        values = {column: list(each) for column, each in zip(columns, zip(*some, strict=True), strict=True)}
        yield Batch(range(start, start + len(some)), values)
        start += len(some)


def _csv_rows(file: Path, told: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """An empty cell is a null, except in texts; a cell of a column of numbers is one."""
    columns, categories = told["columns"], told.get("categories") or {}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        try:
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InvalidArgument.of("input", f"is {file}, whose first line lacks the columns {', '.join(missing)}")
            for row in reader:
                where = f"{file} line {reader.line_num}"
                if None in row or None in row.values():
                    raise InvalidArgument.of("input", f"has another number of cells than columns in {where}")
                if told["kind"] == "text":
                    yield [row[column] for column in columns]
                else:
                    yield [row[c] or None if c in categories else _number(row[c], c, where) for c in columns]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InvalidArgument.of("input", f"is {file}, which is no CSV in UTF-8: {error}") from None


def _number(cell: str, column: str, where: str) -> float:
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError:
        raise InvalidArgument.of("input", f"has {cell[:100]!r} for a number in column {column}, {where}") from None


def _json_rows(file: Path, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # of bytes that are no UTF-8 too
                raise InvalidArgument.of("input", f"is no JSON in {file} line {number}: {error}") from None
            missing = [column for column in columns if not isinstance(row, dict) or column not in row]
            if missing:
                raise InvalidArgument.of("input", f"lacks {', '.join(missing)} in {file} line {number}")
            yield [row[column] for column in columns]


def _groups(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    while some := tuple(islice(items, size)):
        yield some
