"""Texts as word pieces: the tokenizer of a job, and the ids that it gives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Metaspace
from tokenizers.pre_tokenizers import Sequence as Steps
from tokenizers.trainers import BpeTrainer

from kdaif.datasets.strings import Strings
from kdaif.records import Inputs
from kdaif.scratch import Scratch

PADDING, UNKNOWN = "[PAD]", "[UNK]"
_WORD_START = "▁"
_IN_MEMORY = Scratch()


def as_read(texts: pa.Array, *, lower_case: bool) -> pa.Array:
    """The texts as a tokenizer reads them: normalised, and a single space for each run of blanks; null becomes empty.

    Texts that are alike here are alike to a student, whatever their case, accents or blanks.

    Args:
        texts: [N] large strings.
        lower_case: whether case and accents are folded.
    """
    normalize = _normalizer(lower_case).normalize_str
    read = [" ".join(normalize(text).split()) for text in texts.fill_null("").to_pylist()]
    return pa.array(read, pa.large_string())


def without_pieces(read: pa.Array) -> NDArray[np.bool_]:
    """Bool [N]: texts, as `as_read` gives them, in which there is no word piece."""
    return np.asarray(pc.equal(read, "").to_numpy(zero_copy_only=False), dtype=np.bool_)


def train_tokenizer(texts: Collection[str], inputs: Inputs) -> str:
    """The JSON of a tokenizer with truncation and padding to ``inputs.max_tokens``; piece 0 is padding, 1 unknown.

    Byte-pair merges (Sennrich et al. 2016) over characters, words marked by "▁" at their start. The trainers of
    WordPiece and Unigram number their pieces by the order of a hash table, so two processes disagree; this one does
    not, once the characters are given. Those are the commonest of the texts, ties by code point, and at most half the
    vocabulary, so that scripts of many characters leave room for merges.

    Args:
        texts: none of them empty.
        inputs: ``vocabulary_size``, ``max_tokens`` and ``lower_case``.
    """
    normalizer = _normalizer(inputs.lower_case)
    tokenizer = Tokenizer(BPE(unk_token=UNKNOWN, fuse_unk=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = Steps([BertPreTokenizer(), Metaspace(prepend_scheme="always", split=False)])
    alphabet = _alphabet(texts, normalizer, inputs.vocabulary_size // 2)
    trainer = BpeTrainer(
        vocab_size=inputs.vocabulary_size,
        special_tokens=[PADDING, UNKNOWN],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    tokenizer.enable_truncation(inputs.max_tokens)
    tokenizer.enable_padding(pad_id=0, pad_token=PADDING, length=inputs.max_tokens)
    parts = json.loads(tokenizer.to_str())
    # In the vocabulary they keep their numbers; as added tokens they would be found in texts that spell "[PAD]".
    parts["added_tokens"] = []
    return str(Tokenizer.from_str(json.dumps(parts)).to_str())


def encode(tokenizer: str, texts: Strings | NDArray[np.object_], scratch: Scratch = _IN_MEMORY) -> NDArray[np.int32]:
    """int32 [N, max_tokens] of N texts, in ``scratch``."""
    read = Tokenizer.from_str(tokenizer)
    pieces = scratch.empty((len(texts), json.loads(tokenizer)["truncation"]["max_length"]), np.int32)
    step = 8192  # an encoding holds much more than its ids
    for start in range(0, len(texts), step):
        encoded = read.encode_batch(texts[start : start + step].tolist())
        pieces[start : start + step] = [each.ids for each in encoded]
        scratch.release()
    return pieces


def _normalizer(lower_case: bool) -> Any:
    return BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=lower_case, lowercase=lower_case)


def _alphabet(texts: Collection[str], normalizer: Any, most: int) -> list[str]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    for space in [character for character in counts if character.isspace()]:
        del counts[space]
    del counts[_WORD_START]
    commonest = sorted(counts, key=lambda character: (-counts[character], character))
    return [_WORD_START, *commonest[: most - 1]]
