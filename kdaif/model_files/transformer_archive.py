"""A text encoder as one tar of its Hugging Face directory, looked at and unpacked without trusting it.

Only plain files with plain relative names come out, and only tensors and JSON go in: pickles and source files, which
run code when they are loaded, are refused.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from kdaif.errors import InvalidInputError
from kdaif.records import TransformerSignature

MAX_BYTES = 4 << 30
_MAX_MEMBERS = 1000
# The largest tokenizers of pieces in all languages have some 30 MB.
_MAX_JSON_BYTES = {"config.json": 1 << 20, "tokenizer.json": 32 << 20}
_MAX_HEADER_BYTES = 4 << 20
_NEEDED = ("config.json", "tokenizer.json", "model.safetensors")
_RUNS_CODE = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib", ".npy", ".py", ".so")
# Where the usual families keep the embedding of word pieces.
_EMBEDDINGS = ("word_embeddings.weight", "embed_tokens.weight", "wte.weight", "shared.weight", "tok_embeddings.weight")
_PACK = "pack it again: tar -C DIRECTORY -cf model.tar ."


def inspect_transformer(path: Path) -> TransformerSignature:
    """Reads the configuration, the vocabulary and the names of the tensors.

    Raises:
        InvalidInputError: no uncompressed tar; over 4 GiB or 1000 files; links, absolute names, ``..``, pickles or
            source files in it; no config.json, tokenizer.json or model.safetensors at its top; or a tokenizer that
            gives pieces which the model has no vector for.
    """
    with _members(path) as (archive, members):
        config = _json(archive, members, "config.json")
        tokenizer = _json(archive, members, "tokenizer.json")
        rows = _embedding_rows(archive, members["model.safetensors"], config)
    if "auto_map" in config:
        raise _refused("names source code of its own ('auto_map' in config.json), which kdaif never runs; remove it")
    family = config.get("model_type")
    if not isinstance(family, str):
        raise _refused("has a config.json without 'model_type'; save it with model.save_pretrained(directory)")
    vocabulary = _vocabulary_size(tokenizer)
    if vocabulary > rows:
        raise _refused(
            f"has a tokenizer of {vocabulary} word pieces, and vectors for {rows} of them; pack the tokenizer that the "
            "model was trained with, or resize the model's embedding and train it"
        )
    longest = config.get("max_position_embeddings", 0)
    return TransformerSignature(family, rows, vocabulary, longest if isinstance(longest, int) else 0)


def unpack_transformer(path: Path, folder: Path) -> None:
    """Writes the files of a checked archive into an empty folder; names are checked again here.

    Raises:
        InvalidInputError: as `inspect_transformer`, for the archive itself.
    """
    with _members(path) as (archive, members):
        for name, member in members.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            if source is None:
                raise AssertionError("a regular file")
            with source, target.open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)


@contextmanager
def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]]:
    """The open archive and its files by clean relative name."""
    try:
        with tarfile.open(path, "r:") as archive:
            yield archive, _checked(archive)
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise _refused(f"is no uncompressed tar of a model directory ({error}); {_PACK}") from error


def _checked(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    total = 0
    for count, member in enumerate(archive, start=1):
        if count > _MAX_MEMBERS:
            raise _refused(f"holds over {_MAX_MEMBERS} files; keep those of one model; {_PACK}")
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
            raise _refused(f"holds {member.name!r}, a name that leads out of its folder; {_PACK}")
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            raise _refused(
                f"holds {member.name!r}, a link or another thing that is no plain file; copy it, then {_PACK}"
            )
        if name.suffix.lower() in _RUNS_CODE:
            raise _refused(
                f"holds {member.name!r}, and such files can run code when they are loaded; keep weights in "
                f"model.safetensors (model.save_pretrained(directory)), remove the file, then {_PACK}"
            )
        total += member.size
        if total > MAX_BYTES:
            raise _refused(f"unpacks to over {MAX_BYTES} bytes (4 GiB); choose a smaller model")
        if str(name) in found:
            raise _refused(f"holds {member.name!r} twice; {_PACK}")
        found[str(name)] = member
    if missing := [name for name in _NEEDED if name not in found]:
        raise _refused(
            f"lacks {', '.join(missing)} at its top; save model and tokenizer into one directory, then {_PACK}"
        )
    return found


def _json(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> dict[str, Any]:
    member = members[name]
    if member.size > _MAX_JSON_BYTES[name]:
        raise _refused(f"has a {name} of {member.size} bytes, over {_MAX_JSON_BYTES[name]}; choose a smaller model")
    return _parsed(_read(archive, member, 0, member.size), name)


def _parsed(text: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(f"has a {name} that is no JSON ({error}); save it again") from error
    if not isinstance(found, dict):
        raise _refused(f"has a {name} that is no JSON object; save it again")
    return found


def _embedding_rows(archive: tarfile.TarFile, weights: tarfile.TarInfo, config: dict[str, Any]) -> int:
    """Rows of the embedding in the weights; those of the configuration where no tensor has a known name."""
    length = int.from_bytes(_read(archive, weights, 0, 8), "little")
    if not 2 <= length <= weights.size - 8:
        raise _refused("has a model.safetensors that is cut short or no safetensors file; save it again")
    if length > _MAX_HEADER_BYTES:
        raise _refused(f"has a model.safetensors with a header of {length} bytes, over {_MAX_HEADER_BYTES}")
    header = _parsed(_read(archive, weights, 8, length), "model.safetensors header")
    for name, tensor in header.items():
        shape = tensor.get("shape") if isinstance(tensor, dict) else None
        if name.endswith(_EMBEDDINGS) and isinstance(shape, list) and len(shape) == 2 and isinstance(shape[0], int):
            return shape[0]
    declared = config.get("vocab_size")
    if not isinstance(declared, int):
        raise _refused("does not tell the size of its vocabulary ('vocab_size' in config.json); save it again")
    return declared


def _vocabulary_size(tokenizer: dict[str, Any]) -> int:
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    try:
        if isinstance(vocabulary, dict):
            largest = [int(piece) for piece in vocabulary.values()]
        elif isinstance(vocabulary, list):
            largest = [len(vocabulary) - 1]
        else:
            raise TypeError("no vocabulary")
        return 1 + max([*largest, *(int(entry["id"]) for entry in added)], default=-1)
    except (TypeError, ValueError, KeyError) as error:
        raise _refused(
            "has a tokenizer.json without a vocabulary; save it with tokenizer.save_pretrained(directory)"
        ) from error


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, start: int, size: int) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise AssertionError("a regular file")
    with file:
        file.seek(start)
        return file.read(size)


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError.of("dataset", f"the model archive {why}")
