"""What every architecture promises, and what sets each apart."""

import json

import numpy as np
import pytest
import torch

from kdaif.datasets import InputSignature
from kdaif.errors import InvalidInputError
from kdaif.records import Auto, Bag, Cnn, Conv, Layers, Linear, Mlp, Network, Pool, Resnet, TextEncoder
from kdaif.students import Student, build_student, ladder, network_of, vocabulary_size
from tests.kdaif.inputs import ARCHITECTURES, IMAGE, NUMERIC, SIGNATURES, TABLE, TEXT, WORDS, rows_of, tokenizer_json


def student_of(network: Network, signature: InputSignature, seed: int = 0) -> Student:
    return build_student(network, signature, 3, rows_of(signature, 60), seed)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_the_head_of_the_features_and_no_row_depends_on_another(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    student = student_of(network, signature).eval()
    rows = torch.from_numpy(rows_of(signature, 20, seed=1))
    logits = student(rows)
    assert logits.shape == (20, 3)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(student.head(student.features(rows)), logits)
    torch.testing.assert_close(student(rows[:1]), logits[:1], rtol=1e-4, atol=1e-5)
    assert len(torch.unique(logits, dim=0)) > 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equal_seeds_give_equal_parameters_all_of_which_learn(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    before = torch.random.get_rng_state()
    first, second, other = (student_of(network, signature, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)
    rows = torch.from_numpy(rows_of(signature, 300, seed=2))
    first.eval()(rows).square().sum().backward()
    assert [name for name, p in first.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_double_precision_copy_agrees(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    student = student_of(network, signature).eval()
    rows = torch.from_numpy(rows_of(signature, 8))
    single = student(rows)
    torch.testing.assert_close(student.double()(rows).float(), single, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "mobilenet", "bag", "text_encoder"])
@pytest.mark.parametrize("kind", SIGNATURES)
def test_a_network_for_other_rows_is_refused_by_field(name: str, kind: str) -> None:
    network = next(network for network, _ in ARCHITECTURES.values() if network.kind == name)
    signature = SIGNATURES[kind]
    fits = {"image": ("mlp", "cnn", "resnet", "mobilenet"), "text": ("bag", "text_encoder")}.get(kind, ("mlp",))
    if name in fits:
        assert student_of(network, signature).signature is signature
        return
    with pytest.raises(InvalidInputError, match=rf"'{name}' is not for .*; use one of {fits[0]}") as refused:
        build_student(network, signature, 3, rows_of(signature, 9), 0, field="spec.teacher.train.architecture")
    assert [v.field for v in refused.value.violations] == ["spec.teacher.train.architecture"]


@pytest.mark.parametrize(
    ("layers", "signature", "place", "says"),
    [
        (
            (Linear(width=4), Conv(channels=2)),
            IMAGE,
            ".layers.layers[1]",
            "'conv' needs a picture, and gets 4 features",
        ),
        ((Conv(channels=2), Linear(width=4), Pool()), IMAGE, ".layers.layers[2]", "'pool' needs a picture"),
        ((Conv(channels=2),), NUMERIC, ".layers.layers[0]", "gets 3 features"),
        ((Pool(size=3), Pool(size=3)), IMAGE, ".layers.layers[1]", "squares of 3, and its picture is 3 x 2"),
        ((Conv(channels=120),), IMAGE, ".layers.layers", "end in 8640 features, and 8192 is the most"),
        ((Linear(width=4),), TEXT, "", "'layers' is not for text"),
    ],
)
def test_layers_are_shape_checked(layers: tuple[object, ...], signature: InputSignature, place: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says.replace("[", r"\[")) as refused:
        student_of(Layers(layers=layers), signature)
    assert refused.value.violations[0].field == f"spec.student{place}"


@pytest.mark.parametrize("network", [Resnet(channels=(4, 6, 8)), ARCHITECTURES["mobilenet"][0]])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (7, 3), (65, 40)])
def test_any_picture_size(network: Network, height: int, width: int) -> None:
    signature = InputSignature("image", (height, width, 1), ("image",))
    assert student_of(network, signature)(torch.from_numpy(rows_of(signature, 2))).shape == (2, 3)


def test_number_columns_are_standardised_over_what_is_not_null() -> None:
    rows = rows_of(TABLE, 200)
    student = build_student(Mlp(), TABLE, 3, rows, seed=0)
    known = ~np.isnan(rows[:, 0])
    assert 0 < known.sum() < 200
    standardised = student.standardise(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(standardised[known, 0].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(standardised[known, 0].std(), 1, atol=1e-5)
    np.testing.assert_array_equal(standardised[:, [1, 3]], rows[:, [1, 3]])


def test_a_null_is_told_apart_from_the_mean_and_an_unknown_code_is_code_0() -> None:
    student = build_student(Mlp(), TABLE, 3, rows_of(TABLE, 200), seed=0).eval()
    row = torch.tensor([[float(student.mean[0]), 1.0, 50.0, 2.0]])
    null, unknown, beyond, none = row.clone(), row.clone(), row.clone(), row.clone()
    null[0, 0], unknown[0, 1], beyond[0, 1], none[0, 1] = torch.nan, 0, 9, torch.nan
    logits = [student(each) for each in (row, null, unknown, beyond, none)]
    assert not torch.allclose(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])
    assert torch.equal(logits[2], logits[3])
    assert torch.equal(logits[2], logits[4])


def test_a_column_of_nulls_alone_is_harmless() -> None:
    rows = rows_of(TABLE, 20)
    rows[:, 0] = np.nan
    student = build_student(Mlp(), TABLE, 3, rows, seed=0)
    assert (student.mean[0], student.scale[0]) == (0, 1)
    assert torch.isfinite(student(torch.from_numpy(rows))).all()


@pytest.mark.parametrize("name", ["bag", "bag-without-pairs", "bag-hidden", "text-encoder"])
def test_e7_padding_changes_nothing_and_a_row_of_it_is_finite(name: str) -> None:
    network, signature = ARCHITECTURES[name]
    student = student_of(network, signature).eval()
    nothing = torch.zeros((2, TEXT.shape[0]), dtype=torch.int32)
    assert torch.isfinite(student(nothing)).all()
    student(nothing).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)
    with torch.no_grad():
        before = student(torch.from_numpy(rows_of(TEXT, 20)))
        next(p for name, p in student.named_parameters() if name.endswith("pieces.weight"))[0] += 100
        torch.testing.assert_close(student(torch.from_numpy(rows_of(TEXT, 20))), before)


def test_a_bag_with_pairs_knows_the_order_of_words() -> None:
    there, back = torch.tensor([[2, 3, 4, 0, 0, 0]]), torch.tensor([[4, 3, 2, 0, 0, 0]])
    blind = student_of(Bag(embedding_size=6, pair_buckets=0), TEXT).eval()
    torch.testing.assert_close(blind(there), blind(back))
    seeing = student_of(Bag(embedding_size=6, pair_buckets=2048), TEXT).eval()
    assert not torch.allclose(seeing(there), seeing(back))


def test_the_vocabulary_is_counted_with_what_was_added() -> None:
    parsed = json.loads(tokenizer_json())
    assert vocabulary_size(tokenizer_json()) == len(WORDS) + 2
    parsed["added_tokens"] = [{"id": 41}]
    assert vocabulary_size(json.dumps(parsed)) == 42
    parsed["model"] = {"type": "Unigram", "vocab": [["a", 0.0]] * 50}
    assert vocabulary_size(json.dumps(parsed)) == 50


@pytest.mark.parametrize("signature", SIGNATURES.values())
def test_auto_and_its_ladder_fit_the_data(signature: InputSignature) -> None:
    assert network_of(Auto(), signature) in ladder(signature.kind)
    for network in ladder(signature.kind):
        assert student_of(network, signature)(torch.from_numpy(rows_of(signature, 2))).shape == (2, 3)


def test_named_networks_stay_as_they_are() -> None:
    assert network_of(TextEncoder(width=8), TEXT) == TextEncoder(width=8)
    assert network_of(Cnn(hidden_size=8), IMAGE) == Cnn(hidden_size=8)
