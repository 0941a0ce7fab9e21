"""A frozen text encoder with a linear head that is trained on the labelled rows."""

from __future__ import annotations

import importlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from kdaif.datasets import DistillationData, Rows, Strings
from kdaif.datasets.transformer_input import check_transformer
from kdaif.errors import InvalidDataError, InvalidInputError
from kdaif.model_files import inspect_transformer, unpack_transformer
from kdaif.records import TransformerTeacher
from kdaif.scratch import Scratch
from kdaif.teachers.folds import stratified_folds
from kdaif.teachers.outputs import (
    Asked,
    TeacherOutputs,
    asked_parts,
    log_softmax,
    mean_of_probabilities,
    split_parts,
    whole,
)
from kdaif.teachers.remembered import Remember, output_key
from kdaif.top_classes import Logits, empty_logits

_TEXTS_PER_PASS = 32
# Inverse strengths of the head's L2 penalty; V chooses.
_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_SMALLEST_PROBABILITY = 1e-12


def transformer_outputs(
    source: TransformerTeacher,
    data: DistillationData,
    model: Path,
    seed: int,
    device: torch.device,
    field: str,
    remember: Remember,
    scratch: Scratch | None = None,
    temperature: float | None = None,
) -> TeacherOutputs:
    """Encodes all texts once, then fits logistic regressions on the standardised vectors of L.

    With ``folds`` above 1 there is a head for each fold, trained without it: rows of L hear the one that never saw
    them, all others the mean of the heads' probabilities. The strength of the penalty is that of the lowest loss on V.

    Args:
        source: pooling, longest text and folds.
        data: text rows.
        model: the packed directory.
        seed: chooses the folds.
        device: where the encoder runs.
        field: where ``source`` stands in the request.
        remember: keeps the vectors by model, texts and options.
        scratch: for the vectors and what is said of them; None keeps them in memory.
        temperature: of `softening`: U is then kept by the largest classes.

    Raises:
        InvalidInputError: no texts; the archive is refused by `inspect_transformer`, or is no encoder; or L is too
            small for the folds.
        InvalidDataError: the worker has no ``transformers``.
    """
    asked = asked_parts(data)
    parts = {"labeled": data.labeled, **asked}
    texts = [_texts(rows, field) for rows in parts.values()]
    try:
        signature = inspect_transformer(model)
    except InvalidInputError as error:
        raise InvalidInputError.of(f"{field}.model", error.violations[0].description) from error
    check_transformer(source, signature, data.signature, field)
    options = {"kind": "transformer", "pooling": source.pooling, "max_tokens": source.max_tokens}
    room = Scratch() if scratch is None else scratch
    key = output_key(model, texts, options)
    stacked = remember(key, lambda: _encoded(source, texts, model, device, field, room))
    vectors = split_parts(_standardised(stacked, room), parts)
    labels, classes = data.labeled.labels, len(data.class_names)
    temperatures = {"unlabeled": temperature}
    strength = min(
        _STRENGTHS,
        key=lambda tried: _loss(_Head(vectors["labeled"], labels, classes, tried), vectors, data.validation.labels),
    )
    if source.folds == 1:
        head = _Head(vectors["labeled"], labels, classes, strength)
        return TeacherOutputs.of_parts(
            {name: head.logits(vectors[name], room, temperatures.get(name)) for name in asked}
        )
    folds = stratified_folds(labels, source.folds, seed, f"{field}.folds")
    labeled = np.empty((len(labels), classes), dtype=np.float32)
    answers: dict[str, list[Logits | Asked]] = {name: [] for name in asked}
    for fold in range(source.folds):
        unseen = folds == fold
        head = _Head(vectors["labeled"][~unseen], labels[~unseen], classes, strength)
        labeled[unseen] = whole(head.logits(vectors["labeled"][unseen], room))
        for name in asked:
            kept = temperatures.get(name) is not None
            answers[name].append(head.asked(vectors[name]) if kept else head.logits(vectors[name], room))
    said = {
        name: mean_of_probabilities(answer, scratch=room, temperature=temperatures.get(name))
        for name, answer in answers.items()
    }
    return TeacherOutputs.of_parts(said, labeled=labeled)


class _Head:
    """Multinomial logistic regression; classes without a row get next to no probability."""

    def __init__(self, vectors: NDArray[np.float32], labels: NDArray[np.int64], classes: int, strength: float) -> None:
        self._classes = classes
        self._known = np.unique(labels)
        self._model: LogisticRegression | None = None
        if len(self._known) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # near enough is a teacher too
                self._model = LogisticRegression(C=strength, max_iter=500).fit(vectors, labels)

    def logits(self, vectors: NDArray[np.float32], scratch: Scratch, temperature: float | None = None) -> Logits:
        """float32 ``[N, C]``: logarithms of probabilities."""
        logits = empty_logits(len(vectors), self._classes, temperature, scratch)
        for rows in scratch.slabs(len(vectors), vectors[:1].nbytes + 4 * 8 * self._classes):
            probabilities = np.full((rows.stop - rows.start, self._classes), _SMALLEST_PROBABILITY)
            probabilities[:, self._known] = 1.0 if self._model is None else self._model.predict_proba(vectors[rows])
            logits[rows] = np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY)).astype(np.float32)
        return logits

    def asked(self, vectors: NDArray[np.float32]) -> Asked:
        """The same, said where they are read."""
        return Asked((len(vectors), self._classes), lambda rows: whole(self.logits(vectors[rows], Scratch())))


def _standardised(vectors: NDArray[np.float32], scratch: Scratch) -> NDArray[np.float32]:
    """Each column with mean 0 and spread 1 over all rows."""
    sums = np.zeros((2, vectors.shape[1]))
    for rows in scratch.slabs(len(vectors), 3 * 8 * vectors.shape[1]):
        sums[0] += vectors[rows].sum(axis=0, dtype=np.float64)
    mean = sums[0] / len(vectors)
    for rows in scratch.slabs(len(vectors), 3 * 8 * vectors.shape[1]):
        sums[1] += ((vectors[rows] - mean) ** 2).sum(axis=0)
    scale = np.sqrt(sums[1] / len(vectors))
    found: NDArray[np.float32] = scratch.empty(vectors.shape, np.float32)
    for rows in scratch.slabs(len(vectors), 3 * 8 * vectors.shape[1]):
        found[rows] = (vectors[rows] - mean) / np.where(scale > 0, scale, 1)
    return found


def _loss(head: _Head, vectors: dict[str, NDArray[np.float32]], labels: NDArray[np.int64]) -> float:
    said = log_softmax(whole(head.logits(vectors["validation"], Scratch())))
    return float(-said[np.arange(len(labels)), labels].mean())


def _texts(rows: Rows, field: str) -> Strings:
    if rows.texts is None:
        raise InvalidInputError.of(field, "the rows hold no text; a transformer reads a 'text' column")
    return rows.texts


def _encoded(
    source: TransformerTeacher, texts: list[Strings], model: Path, device: torch.device, field: str, scratch: Scratch
) -> NDArray[np.float32]:
    """float32 ``[N, H]``: the pooled last layer of every text."""
    transformers = _library()
    with tempfile.TemporaryDirectory(prefix="kdaif-encoder-") as folder:
        unpack_transformer(model, Path(folder))
        try:
            encoder = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
            tokenizer = _tokenizer(Path(folder) / "tokenizer.json", source.max_tokens)
        except Exception as error:  # the library raises whatever it meets
            raise InvalidInputError.of(
                f"{field}.model", f"the encoder cannot be loaded: {str(error)[:1000]}; pack one that AutoModel loads"
            ) from error
        if getattr(encoder.config, "is_encoder_decoder", False):
            raise InvalidInputError.of(f"{field}.model", "the model is an encoder with a decoder; pack an encoder")
        encoder = encoder.float().to(device).eval()
        return _pooled(source, encoder, tokenizer, texts, device, scratch)


def _library() -> Any:
    # Read when the library is loaded: nothing may be fetched, whatever a configuration names.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise InvalidDataError(
            "a transformer teacher needs the library 'transformers', which this worker lacks; install "
            "kdaif[transformers] where the workers run"
        ) from error


def _tokenizer(file: Path, max_tokens: int) -> Any:
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(max_tokens)
    tokenizer.enable_padding()  # with piece 0, which the mask hides
    return tokenizer


def _pooled(
    source: TransformerTeacher,
    encoder: Any,
    tokenizer: Any,
    texts: list[Strings],
    device: torch.device,
    scratch: Scratch,
) -> NDArray[np.float32]:
    # Texts of like length together: a batch costs as much as its longest.
    lengths = np.fromiter((len(text) for part in texts for text in part), np.int32)
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum([len(part) for part in texts])
    found: NDArray[np.float32] | None = None
    for start in range(0, len(lengths), _TEXTS_PER_PASS):
        chosen = order[start : start + _TEXTS_PER_PASS]
        of_part = np.searchsorted(ends, chosen, side="right")
        places = chosen - ends[of_part]  # from the end of each part
        batch = [str(texts[part][len(texts[part]) + place]) for part, place in zip(of_part, places, strict=True)]
        encodings = tokenizer.encode_batch(batch)
        ids = torch.tensor([encoding.ids for encoding in encodings], device=device)
        mask = torch.tensor([encoding.attention_mask for encoding in encodings], device=device)
        with torch.inference_mode():
            hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        if source.pooling == "cls":
            pooled = hidden[:, 0]
        else:  # a text without any piece gives zeros
            pooled = (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        if found is None:
            found = scratch.empty((len(lengths), pooled.shape[1]), np.float32)
        scratch.put(found, chosen, pooled.cpu().numpy())
    return np.empty((0, 0), np.float32) if found is None else found
