"""The kdaif SDK: upload data, distil a student from a teacher, read why each sample weighs what it weighs.

>>> from kdaif_client import Client
>>> kdaif = Client("localhost:50051")
>>> labeled = kdaif.upload_dataset(labeled_df, name="labeled")
>>> unlabeled = kdaif.upload_dataset("pool.parquet", name="pool")
>>> job = kdaif.submit(labeled=labeled, unlabeled=unlabeled).wait(progress=True)
>>> for weight in job.weights(order_by="val_loss_change_if_upweighted desc", limit=10):
...     print(weight)
>>> job.download_student("student/").predict(X)
"""

from kdaif_client import errors
from kdaif_client._client import Client
from kdaif_client._job import Job
from kdaif_client.bundle import Student, verify
from kdaif_client.errors import JobFailed, KdaifClientError
from kdaif_client.types import (
    ArmResult,
    BundleFile,
    Cnn,
    Column,
    ColumnTeacher,
    Dataset,
    DatasetState,
    Failure,
    Finding,
    JobEvent,
    JobInfo,
    JobResult,
    JobState,
    Mlp,
    PlantedNoise,
    Progress,
    SampleWeight,
    Spec,
    Splits,
    StudentInfo,
    TrainedTeacher,
    Training,
    Weighting,
)

__all__ = [
    "ArmResult",
    "BundleFile",
    "Client",
    "Cnn",
    "Column",
    "ColumnTeacher",
    "Dataset",
    "DatasetState",
    "Failure",
    "Finding",
    "Job",
    "JobEvent",
    "JobFailed",
    "JobInfo",
    "JobResult",
    "JobState",
    "KdaifClientError",
    "Mlp",
    "PlantedNoise",
    "Progress",
    "SampleWeight",
    "Spec",
    "Splits",
    "Student",
    "StudentInfo",
    "TrainedTeacher",
    "Training",
    "Weighting",
    "errors",
    "verify",
]
