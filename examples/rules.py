"""Votes of rules as the teacher: which comments under videos are spam (YouTube, 10 labelling functions).

    KDAIF_DATA=... python -m examples.rules

The rules often abstain and are often wrong; influence on a few hand labels decides which of their words to trust.
"""

from __future__ import annotations

import json

import pandas as pd
from kdaif_client import Bag, ColumnTeacher, Training

from examples.example_data import connected, data_folder, tell

NAMES = {0: "ham", 1: "spam"}


def main() -> None:
    """Entry point."""
    comments = pd.read_parquet(data_folder() / "youtube_spam_lf" / "youtube_spam_lf.parquet").drop_duplicates("text")
    comments["label"] = comments["label"].map(NAMES)
    comments["teacher_label"] = [
        [NAMES.get(vote) for vote in (json.loads(votes) if isinstance(votes, str) else votes)]
        for votes in comments["weak_labels"]
    ]
    by_hand = comments[comments["split"] == "valid"][["text", "label"]]
    pool = comments[comments["split"] == "train"][["text", "teacher_label"]]
    pool = pool[[any(vote is not None for vote in votes) for votes in pool["teacher_label"]]]
    test = comments[comments["split"] == "test"][["text", "label"]]

    with connected() as kdaif:
        job = kdaif.submit(
            labeled=kdaif.upload_dataset(by_hand, name="comments labelled by hand"),
            unlabeled=kdaif.upload_dataset(pool, name="comments with votes"),
            test=kdaif.upload_dataset(test, name="comments to test on"),
            teacher=ColumnTeacher("label"),
            student=Bag(embedding_size=32),
            training=Training(learning_rate=0.005, seeds=1),
        ).wait()
        tell(job)
        for weight in job.weights(order_by="val_loss_change_if_upweighted desc", limit=5):
            print(weight)


if __name__ == "__main__":
    main()
