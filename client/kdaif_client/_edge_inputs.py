"""From rows as people have them to the one array that a student's ONNX file takes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from kdaif_client._edge_pictures import decoded, encoded_pictures
from kdaif_client.errors import InvalidArgument, MissingDependency, ServerError


class EdgeInputs:
    """Encodes the rows of one bundle as its manifest says. Numpy is imported when the first rows come.

    Args:
        folder: the bundle, for its ``tokenizer.json``.
        told: ``input`` of the manifest.

    Raises:
        MissingDependency: a student of text, and the tokenizers package is not installed.
        ServerError: the installed tokenizers package cannot read the tokenizer.
    """

    def __init__(self, folder: Path, told: Mapping[str, Any]) -> None:
        self._kind = told["kind"]
        self._shape = tuple(size for size in told["shape"] if isinstance(size, int))
        # Of a bundle that is older than this, or of pictures with two or four channels, there is nothing to decode.
        self._pictures: Mapping[str, Any] | None = told.get("pictures")
        self._columns: Sequence[str] = told.get("columns") or ()
        self._nullable = frozenset(told.get("nullable") or ())
        self._codes = {
            column: {name: place for place, name in enumerate(names, start=1)}
            for column, names in (told.get("categories") or {}).items()
        }
        self._tokenizer = _tokenizer(folder / told.get("tokenizer", "tokenizer.json"), folder) if self.is_text else None

    @property
    def is_text(self) -> bool:
        """Whether rows are texts."""
        return bool(self._kind == "text")

    def rows(self, X: Any) -> Any:
        """The array for the model: uint8, float32 or int32, [N, ...]. Raises InvalidArgument for what it cannot be."""
        if self._kind == "image":
            return self._images(X)
        if self.is_text:
            return self._texts(X)
        return self._table(X) if self._codes or self._nullable else self._numbers(X)

    def wanted(self) -> str:
        """What rows look like, for messages."""
        if self.is_text:
            return f"texts: a list of str, or a data frame or dict with the column {self._columns[0]}"
        shape = ", ".join(["N", *map(str, self._shape)])
        if self._kind == "image":
            files = " or a list of PNG or JPEG files, as bytes or paths" if self._pictures else ""
            return f"uint8 images [{shape}]{files}"
        names = self._columns
        named = f" with columns {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if len(names) > 1 else ""
        return f"{'values' if self._codes else 'numbers'} [{shape}]{named}"

    def _images(self, X: Any) -> Any:
        import numpy as np

        if isinstance(X, bytes | str | os.PathLike):
            raise InvalidArgument.of("X", f"is one picture, and this student takes {self.wanted()}; send [X]")
        if _has_columns(X):
            self._check_columns(X)
            X = X[self._columns[0]]
        pictures = encoded_pictures(X)
        if pictures is not None and self._pictures is not None:
            return decoded(pictures, self._shape, self._pictures)
        rows = np.asarray(X)
        if rows.dtype != np.uint8:
            raise InvalidArgument.of(
                "X",
                f"is {rows.dtype}, and this student takes {self.wanted()}; for values of 0 to 1 send "
                "(X * 255).round().astype(numpy.uint8)",
            )
        if rows.ndim == 3 and self._shape[-1] == 1:
            rows = rows[..., np.newaxis]
        self._check_shape(rows)
        return np.ascontiguousarray(rows)

    def _numbers(self, X: Any) -> Any:
        import numpy as np

        rows = self._named_columns(X) if _has_columns(X) else np.asarray(X)
        if rows.dtype.kind not in "fiub":
            raise InvalidArgument.of("X", f"is {rows.dtype}, and this student takes {self.wanted()}")
        self._check_shape(rows)
        with np.errstate(over="ignore"):
            numbers = np.ascontiguousarray(rows, dtype=np.float32)
        finite = np.isfinite(numbers).all(axis=1)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            raise InvalidArgument.of(
                "X",
                f"is NaN, infinite or beyond float32 in {len(bad)} rows, first {bad[:10].tolist()}; drop or fill them",
            )
        return numbers

    def _named_columns(self, X: Any) -> Any:
        import numpy as np

        self._check_columns(X)
        try:
            columns = [np.asarray(X[name]) for name in self._columns]
            # One column may hold a whole row of numbers: `features` as lists.
            columns = [np.stack(list(c)) if c.dtype == object and len(c) and np.ndim(c[0]) else c for c in columns]
            return columns[0] if len(columns) == 1 and columns[0].ndim == 2 else np.stack(columns, axis=1)
        except ValueError as error:
            raise InvalidArgument.of("X", f"has columns of different lengths: {error}") from None

    def _table(self, X: Any) -> Any:
        """Columns with categories or nulls, each on its own, since they are of different types."""
        import numpy as np

        if _has_columns(X):
            self._check_columns(X)
            columns = [np.asarray(X[name], dtype=object) for name in self._columns]
        else:
            try:
                matrix = np.asarray(X, dtype=object)
            except ValueError as error:
                raise InvalidArgument.of("X", f"has rows of different lengths: {error}") from None
            self._check_shape(matrix)
            columns = list(matrix.T)
        if len({len(column) for column in columns}) > 1:
            lengths = ", ".join(f"{name} {len(column)}" for name, column in zip(self._columns, columns, strict=True))
            raise InvalidArgument.of("X", f"has columns of different lengths: {lengths}")
        encoded = [self._encoded(name, column) for name, column in zip(self._columns, columns, strict=True)]
        return np.ascontiguousarray(np.stack(encoded, axis=1))

    def _encoded(self, name: str, values: Any) -> Any:
        """One column as float32 [N]: codes of categories by their name, numbers as they are, nulls where allowed."""
        import numpy as np

        null = np.fromiter((_is_null(value) for value in values), dtype=bool, count=len(values))
        if null.any() and name not in self._nullable:
            where = np.flatnonzero(null)
            raise InvalidArgument.of(
                "X",
                f"has no value in column {name} in {len(where)} rows, first {where[:10].tolist()}, and the student "
                "learned from none without; fill or drop them",
            )
        if name in self._codes:
            codes = self._codes[name]
            found = [0 if gone else codes.get(_named(value), 0) for value, gone in zip(values, null, strict=True)]
            return np.asarray(found, dtype=np.float32)
        return _as_numbers(name, values, null)

    def _texts(self, X: Any) -> Any:
        import numpy as np

        if isinstance(X, str):
            raise InvalidArgument.of("X", f"is one str, and this student takes {self.wanted()}; send [X]")
        if _has_columns(X):
            self._check_columns(X)
            X = X[self._columns[0]]
        texts = np.asarray(X, dtype=object)
        if texts.ndim != 1:
            raise InvalidArgument.of("X", f"has shape {list(texts.shape)}, and this student takes {self.wanted()}")
        bad = [place for place, text in enumerate(texts) if not isinstance(text, str)]
        if bad:
            kind = type(texts[bad[0]]).__name__
            raise InvalidArgument.of(
                "X", f"is no str in {len(bad)} rows, first {bad[:10]} ({kind}); this student takes {self.wanted()}"
            )
        if self._tokenizer is None:
            raise AssertionError("a student of text has a tokenizer")
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch([str(text) for text in texts])]
        return np.asarray(ids, dtype=np.int32).reshape(len(ids), *self._shape)

    def _check_columns(self, X: Any) -> None:
        present = list(X) if isinstance(X, Mapping) else list(X.columns)
        missing = [name for name in self._columns if name not in present]
        if missing:
            raise InvalidArgument.of("X", f"lacks the columns {', '.join(missing)}; this student takes {self.wanted()}")

    def _check_shape(self, rows: Any) -> None:
        if rows.shape[1:] != self._shape:
            one = " (a single row needs a leading axis: X[None])" if rows.shape == self._shape else ""
            raise InvalidArgument.of("X", f"has shape {list(rows.shape)}, and this student takes {self.wanted()}{one}")


def need(package: str, folder: Path) -> Any:
    """The package; MissingDependency with the command that installs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingDependency(
            f"{package} is not installed here, so the student in {folder} cannot run (its files are there, verified). "
            "Install it with: pip install 'kdaif-client[edge]'"
        ) from error


def _has_columns(X: Any) -> bool:
    return isinstance(X, Mapping) or hasattr(X, "columns")


def _tokenizer(file: Path, folder: Path) -> Any:
    tokenizers = need("tokenizers", folder)
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises plain Exception
        raise ServerError(f"tokenizers {tokenizers.__version__} cannot read {file}: {error}.") from error


def _is_null(value: Any) -> bool:
    """None, NaN, and pandas' NA and NaT, which are the only values that do not equal themselves."""
    if value is None:
        return True
    try:
        return not bool(value == value)
    except TypeError:  # of pandas.NA nothing can be said
        return True


def _named(value: Any) -> str:
    """The name of a category as it was when the student learned: Arrow's text of a value."""
    import numpy as np

    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))  # a column of integers with nulls comes as floats
    return str(value)


def _as_numbers(name: str, values: Any, null: Any) -> Any:
    import numpy as np

    numbers = np.full(len(values), np.nan, dtype=np.float32)
    try:
        with np.errstate(over="ignore"):
            numbers[~null] = [_number(value) for value in values[~null]]
    except (TypeError, ValueError) as error:
        raise InvalidArgument.of("X", f"has something else than numbers in column {name}: {error}") from None
    bad = np.flatnonzero(~np.isfinite(numbers) & ~null)
    if len(bad):
        raise InvalidArgument.of(
            "X", f"is infinite or beyond float32 in column {name} in {len(bad)} rows, first {bad[:10].tolist()}"
        )
    return numbers


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise TypeError(repr(value[:100]))
    return float(value)
