"""The short forms of students, teachers and noise on the command line."""

from __future__ import annotations

import pytest
from kdaif_client import (
    Auto,
    Bag,
    Cnn,
    ColumnTeacher,
    Mlp,
    Mobilenet,
    OnnxTeacher,
    PlantedNoise,
    Resnet,
    TextEncoder,
    TrainedTeacher,
    TransformerTeacher,
)
from kdaif_client._cli_forms import architecture, noise, teacher_of
from kdaif_client.errors import InvalidArgument


def test_short_forms() -> None:
    assert architecture("mlp", "x") == Mlp()
    assert architecture("cnn:16,32", "x") == Cnn((16, 32))
    assert teacher_of("train") == TrainedTeacher()
    assert teacher_of("train:cnn:8") == TrainedTeacher(Cnn((8,)))
    assert teacher_of("column:logits:cat,dog") == ColumnTeacher("logits", ("cat", "dog"))
    assert noise("symmetric:0.5") == PlantedNoise("symmetric", 0.5)
    assert architecture("auto", "x") == Auto()
    assert architecture("auto:max_kb=200,max_ms=0.5", "x") == Auto(max_kb=200.0, max_ms=0.5)
    assert architecture("bag", "x") == Bag()
    assert architecture("bag:64", "x") == Bag(embedding_size=64)
    assert architecture("text_encoder", "x") == TextEncoder()
    assert architecture("resnet:16,32", "x") == Resnet(channels=(16, 32))
    assert architecture("mobilenet", "x") == Mobilenet()
    assert teacher_of("column:label") == ColumnTeacher("label")
    assert teacher_of("transformer:my model") == TransformerTeacher("my model")
    assert teacher_of("onnx:a/b.onnx:logits:cat,dog") == OnnxTeacher("a/b.onnx", "logits", ("cat", "dog"))
    for wrong in ("mlp:a", "mlp:64,", "", "rnn:3", "auto:200", "auto:max_mb=2", "bag:a", "text_encoder:3"):
        with pytest.raises(InvalidArgument):
            architecture(wrong, "--student")
    for wrong in (
        "column:guess:a,b",
        "train:rnn",
        "human",
        "onnx:m.onnx",
        "onnx:m:logits:",
        "transformer:",
        "column:logits",
    ):
        with pytest.raises(InvalidArgument):
            teacher_of(wrong)
    with pytest.raises(InvalidArgument):
        noise("class_swap")
