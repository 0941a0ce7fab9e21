"""Files nobody uploads: good ones of each kind, cut, bent and joined."""

from __future__ import annotations

import io
import tarfile
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st


@cache
def good() -> tuple[bytes, ...]:
    """One small file of each kind."""
    import onnx
    from onnx import TensorProto, helper
    from safetensors.numpy import save

    random = np.random.default_rng(0)
    plain = pa.table(
        {
            "id": [f"r{n}" for n in range(40)],
            "features": list(random.normal(size=(40, 3)).astype(np.float32)),
            "label": ["a", "b"] * 20,
        }
    )
    texts = pa.table({"id": list(range(20)), "text": ["good owl", "bad cat"] * 10, "label": ["x", "y"] * 10})
    mixed = pa.table(
        {
            "id": list(range(30)),
            "age": random.normal(size=30),
            "city": ["Bern", "Ulm", None] * 10,
            "label": ["a", None, "b"] * 10,
            "teacher_label": ["a"] * 30,
            "weight_override": [None, 1.0, 0.0] * 10,
        }
    )
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 2], [0.5] * 6)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weight],
    )
    model: bytes = onnx.helper.make_model(graph).SerializeToString()
    tensors = save({"w": np.ones((2, 2), np.float32)})
    return (*(_parquet(table) for table in (plain, texts, mixed)), model, tensors, _tar(tensors))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _tar(tensors: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in (("config.json", b'{"model_type": "bert"}'), ("model.safetensors", tensors)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


@st.composite
def bent(draw: st.DrawFn) -> bytes:
    """A good file with up to eight changes; or noise, at times in the frame of a Parquet file."""
    if draw(st.integers(0, 9)) == 0:
        noise = draw(st.binary(min_size=1, max_size=300))
        return b"PAR1" + noise + len(noise).to_bytes(4, "little") + b"PAR1" if draw(st.booleans()) else noise
    data = bytearray(draw(st.sampled_from(good())))
    for _ in range(draw(st.integers(0, 8))):
        # From the end as often as from the beginning: there lies the footer of Parquet.
        at = draw(st.integers(0, max(0, len(data) - 1)))
        at = len(data) - 1 - at % min(len(data), 400) if draw(st.booleans()) else at
        match draw(st.integers(0, 4)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del data[at : at + draw(st.integers(1, 60))]
            case 3:
                data[at:at] = draw(st.binary(min_size=1, max_size=20))
            case _:
                data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f"]))
        if not data:
            return b"\0"
    return bytes(data)
