"""Pictures with one's own ONNX file as the teacher: CIFAR-10 and a ResNet-20.

    KDAIF_DATA=... python -m examples.images

JPEG bytes go in as they are. The ResNet was trained on the training pictures, so all rows come from the test pictures.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from kdaif_client import Cnn, OnnxTeacher, Training

from examples.example_data import connected, data_folder, tell

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def main() -> None:
    """Entry point."""
    stored = pq.read_table(data_folder() / "cifar10" / "test.parquet").slice(0, 2500)
    pictures = pa.table(
        {
            "id": [f"picture-{row}" for row in range(len(stored))],
            "image": stored["jpeg"],
            "label": [CLASSES[code] for code in stored["label"].to_pylist()],
        }
    )
    with connected() as kdaif:
        resnet = kdaif.upload_model(data_folder() / "models_cifar10_onnx" / "resnet20_cifar10.onnx", name="ResNet-20")
        job = kdaif.submit(
            labeled=kdaif.upload_dataset(pictures.slice(0, 600), name="pictures with a label"),
            unlabeled=kdaif.upload_dataset(pictures.slice(600, 1400).drop_columns(["label"]), name="pictures"),
            test=kdaif.upload_dataset(pictures.slice(2000), name="pictures to test on"),
            teacher=OnnxTeacher(resnet, "logits", CLASSES),
            student=Cnn(),
            training=Training(rounds=4, epochs_per_round=2, seeds=1, augment=True),
        ).wait()
        tell(job)


if __name__ == "__main__":
    main()
