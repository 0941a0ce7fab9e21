"""Models of one's own on their way to the server: which kind they are, and a Hugging Face directory as one file."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from kdaif_client.errors import InvalidArgument, NotFound
from kdaif_client.types import DatasetKind

_SUFFIXES = {".onnx": DatasetKind.ONNX, ".safetensors": DatasetKind.SAFETENSORS, ".tar": DatasetKind.TRANSFORMER}
_CONFIG = "config.json"
_TOKENIZER = frozenset(
    {
        "added_tokens.json",
        "merges.txt",
        "special_tokens_map.json",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
_PICKLED = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl"})
_TAKEN = (
    "an .onnx file, a .safetensors file, or a Hugging Face directory with config.json and *.safetensors, or such a "
    "directory as an uncompressed .tar"
)


def kind_by_name(name: str) -> DatasetKind:
    """The kind that a file's name ends in; a table where it says nothing."""
    return next((kind for suffix, kind in _SUFFIXES.items() if name.lower().endswith(suffix)), DatasetKind.TABLE)


def is_model(path: Path) -> bool:
    """Whether a path is a model that `model_file` takes: a file by its name, a folder by what is in it."""
    if path.is_dir():
        return (path / _CONFIG).is_file()
    return path.is_file() and kind_by_name(path.name) is not DatasetKind.TABLE


def model_name(path: Path) -> str:
    """What people call a model that they do not name; a folder's name may have a dot in it."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100, since a link is to be called as it is, and "." as what it is
    return whole.name if path.is_dir() else whole.stem


@contextmanager
def model_file(path: Path) -> Iterator[tuple[Path, DatasetKind]]:
    """The one file that is sent for a model, and its kind: the file itself, or a temporary tar of a directory.

    Raises:
        NotFound: there is nothing at ``path``.
        InvalidArgument: it is no model, or its weights are pickled.
    """
    if path.is_dir():
        with _packed(path) as packed:
            yield packed, DatasetKind.TRANSFORMER
        return
    if not path.exists():
        raise NotFound(f"There is no file {path}. upload_model takes {_TAKEN}.")
    if path.suffix.lower() in _PICKLED:
        raise _pickled(path)
    kind = kind_by_name(path.name)
    if kind is DatasetKind.TABLE:
        raise InvalidArgument.of("path", f"is {path}; upload_model takes {_TAKEN}")
    yield path, kind


@contextmanager
def _packed(folder: Path) -> Iterator[Path]:
    """The same files give the same bytes: sorted, without times and owners. Nothing else of the folder is sent."""
    files = sorted((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.name)
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights and any(file.suffix in _PICKLED for file in files):
        raise _pickled(folder)
    if not weights or not any(file.name == _CONFIG for file in files):
        raise InvalidArgument.of("path", f"is {folder}, which lacks config.json or *.safetensors; give {_TAKEN}")
    chosen = [file for file in files if file.name == _CONFIG or file.name in _TOKENIZER or file in weights]
    with NamedTemporaryFile(prefix="kdaif-", suffix=".tar", delete=False) as handle:
        target = Path(handle.name)
        try:
            with tarfile.open(fileobj=handle, mode="w", format=tarfile.GNU_FORMAT) as archive:
                for file in chosen:
                    entry = tarfile.TarInfo(file.name)  # its times and owners are 0
                    entry.size = file.stat().st_size
                    with file.open("rb") as source:
                        archive.addfile(entry, source)
            handle.close()
            yield target
        finally:
            target.unlink(missing_ok=True)


def _pickled(path: Path) -> InvalidArgument:
    return InvalidArgument.of(
        "path",
        f"is {path}, whose weights are pickled: opening them can run code, so no server takes them. Save the model as "
        "safetensors, for example with model.save_pretrained(folder, safe_serialization=True), and upload that",
    )
