"""A table with numbers, categories, nulls and groups: who earns over 50,000 (Adult, UCI).

    KDAIF_DATA=... python -m examples.tables

Of 3,000 people 300 have a label. The student takes the raw columns, names of categories included, at the edge too.
"""

from __future__ import annotations

import tempfile

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from kdaif_client import Inputs, TrainedTeacher, Training

from examples.example_data import connected, data_folder, tell

NULLABLE = ("workclass", "occupation", "native_country")


def main() -> None:
    """Entry point."""
    people = pq.read_table(data_folder() / "adult" / "train.parquet").slice(0, 5000)
    label = pc.if_else(pc.equal(people["income_gt_50k"], 1), "over", "under")
    people = people.drop_columns(["income_gt_50k", "fnlwgt"])
    for name in ("sex", "race"):
        people = people.append_column(f"group_{name}", people[name])
    people = people.add_column(0, "id", pa.array([f"person-{row}" for row in range(len(people))]))
    labelled = people.append_column("label", label)

    with connected() as kdaif, tempfile.TemporaryDirectory() as folder:
        job = kdaif.submit(
            labeled=kdaif.upload_dataset(labelled.slice(0, 300), name="people with a label"),
            unlabeled=kdaif.upload_dataset(people.slice(300, 2700), name="people"),
            test=kdaif.upload_dataset(labelled.slice(3000), name="people to test on"),
            inputs=Inputs(nullable_columns=NULLABLE),
            teacher=TrainedTeacher(folds=5),
            training=Training(rounds=4, seeds=1),
        ).wait()
        tell(job)
        student = job.download_student(folder)
        print("The first five:", ", ".join(student.predict(people.slice(0, 5).to_pandas())))


if __name__ == "__main__":
    main()
