"""A whole attempt with 300 classes: nothing that it keeps is as wide as they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_worker.messages import Assignment
from kdaif_worker.pipeline import run
from kdaif_worker.tensor_files import read_tensors

from kdaif.records import DistillationSpec
from kdaif.scratch import Scratch
from kdaif.store import BlobStore, DatasetStore, layout

_C = 300
_NAMES = [f"c{code:03}" for code in range(_C)]
_CENTRES = 4 * np.random.default_rng(0).normal(size=(_C, 8))


def _table(n_rows: int, seed: int, *, labelled: bool) -> pa.Table:
    generator = np.random.default_rng(seed)
    codes = generator.permutation(np.arange(n_rows) % _C)
    features = (_CENTRES[codes] + generator.normal(size=(n_rows, 8))).astype(np.float32)
    columns = {f"x{place}": values for place, values in enumerate(features.T)}
    if labelled:
        return pa.table({"id": np.arange(n_rows) + 10_000 * seed, **columns, "label": [_NAMES[code] for code in codes]})
    logits = generator.normal(size=(n_rows, _C)).astype(np.float32)
    logits[np.arange(n_rows), codes] += 9
    said = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), _C)
    return pa.table({"id": np.arange(n_rows) + 10_000 * seed, **columns, "teacher_logits": said})


def test_a_job_of_many_classes(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    blobs = BlobStore.open(url)
    store = DatasetStore(blobs, tmp_path / "spool", lambda path: (0, ()))

    def put(rows: pa.Table) -> str:
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        content = sink.getvalue().to_pybytes()
        dataset, _ = store.create("default", "", hashlib.sha256(content).hexdigest(), len(content))
        store.append("default", dataset.id, 0, [content])
        return store.finish("default", dataset.id).id

    spec = DistillationSpec.model_validate(
        {
            "labeled": put(_table(1500, 1, labelled=True)),
            "unlabeled": put(_table(600, 2, labelled=False)),
            "teacher": {"source": {"kind": "column", "outputs": "logits", "class_names": _NAMES}},
            "student": {"kind": "mlp", "hidden_sizes": [16]},
            "training": {"rounds": 2, "epochs_per_round": 1, "seeds": 1, "learning_rate": 0.01},
            "weighting": {"canary_bar": 0.01, "solver": "cg", "blocks": 2, "rounds_per_scoring": 1},
        }
    )
    (tmp_path / "cache").mkdir()

    formats: set[int] = set()

    def told(message: object) -> None:
        for stored in blobs.list(layout.checkpoints("default", "j1", 1)):
            _, metadata = read_tensors(blobs.iter_range(stored), blobs.size(stored), Scratch())
            formats.add(json.loads(metadata["kdaif"])["format"])

    result = run(Assignment("default", "j1", 1, "", spec, url, tmp_path / "cache", 1), told).result
    assert 5 in formats  # which a worker of before does not read, as it does not look for the targets
    assert not blobs.exists(layout.soft_targets("default", "j1", 1))
    path = layout.largest_soft_targets("default", "j1", 1)
    arrays, _ = read_tensors(blobs.iter_range(path), blobs.size(path), Scratch(), hashed=False)
    assert "logits" not in arrays
    assert arrays["logits.values"].shape == (600, 64)
    influence = next(arm for arm in result.arms if arm.arm == "influence")
    assert influence.accuracy is not None
    assert influence.accuracy > 10 / _C
