"""Every path in the blob store. Paths are made here from checked parts, so none can leave its tenant.

    tenants/{tenant}/blobs/{sha256}
    tenants/{tenant}/datasets/{dataset}.json
    tenants/{tenant}/model-outputs/{sha256}.safetensors
    tenants/{tenant}/jobs/{job}/job-{version:010d}.json
    tenants/{tenant}/jobs/{job}/overrides/revision-{n:06d}.json
    tenants/{tenant}/jobs/{job}/attempt-{n}/weights/round-{r:04d}.parquet
    tenants/{tenant}/jobs/{job}/attempt-{n}/checkpoints/step-{k:06d}.safetensors
    tenants/{tenant}/jobs/{job}/attempt-{n}/bundle/{file}
    tenants/{tenant}/jobs/{job}/attempt-{n}/manifest.json

Each function raises InvalidInputError for a part that is not of its form.
"""

from __future__ import annotations

import re

from kdaif.errors import InvalidInputError

TENANTS = "tenants"
"""The folder of the folders of tenants."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATASET = re.compile(r"[0-9a-f]{32}")
_JOB = re.compile(r"[0-9A-Za-z]{1,64}")
_FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}(/[0-9A-Za-z][0-9A-Za-z._-]{0,127}){0,7}")
_ATTEMPT = re.compile(r"attempt-([0-9]+)")
_RECORD = re.compile(r"(?:.*/)?job-([0-9]{10,})\.json")
_CHECKPOINT = re.compile(r"tenants/[^/]+/jobs/[^/]+/attempt-[0-9]+/checkpoints/.+")
_STEP = re.compile(r"(?:.*/)?step-([0-9]{6,})\.safetensors")


def tenant_id(tenant: str) -> str:
    """``tenant``, checked."""
    return _checked("tenant", tenant, _TENANT, "lower-case letters, digits and hyphens, at most 63")


def sha256_hex(sha256: str) -> str:
    """``sha256``, checked."""
    return _checked("sha256", sha256, _SHA256, "64 lower-case hexadecimal digits")


def dataset_id(dataset: str) -> str:
    """``dataset``, checked."""
    return _checked("dataset", dataset, _DATASET, "32 lower-case hexadecimal digits")


def blobs(tenant: str) -> str:
    """The folder of the bytes of uploaded data sets."""
    return f"{TENANTS}/{tenant_id(tenant)}/blobs"


def blob(tenant: str, sha256: str) -> str:
    """The bytes of that hash."""
    return f"{blobs(tenant)}/{sha256_hex(sha256)}"


def datasets(tenant: str) -> str:
    """The folder of the records of data sets."""
    return f"tenants/{tenant_id(tenant)}/datasets"


def dataset(tenant: str, dataset: str) -> str:
    """The record of one data set."""
    return f"{datasets(tenant)}/{dataset_id(dataset)}.json"


def jobs(tenant: str) -> str:
    """The folder of the folders of jobs."""
    return f"{TENANTS}/{tenant_id(tenant)}/jobs"


def job_folder(tenant: str, job: str) -> str:
    """The folder of everything that one job left."""
    return f"{jobs(tenant)}/{_checked('job', job, _JOB, 'letters and digits, at most 64')}"


def job_record(tenant: str, job: str, version: int) -> str:
    """The archived record of one job; the greatest version is the one that counts."""
    return f"{job_folder(tenant, job)}/job-{_counted('version', version):010d}.json"


def job_record_version(path: str) -> int | None:
    """The version in a path that `job_record` made; None for another path."""
    match = _RECORD.fullmatch(path)
    return None if match is None else int(match[1])


def override_revisions(tenant: str, job: str) -> str:
    """The folder of what people decided on the samples of a job."""
    return f"{job_folder(tenant, job)}/overrides"


def override_revision(tenant: str, job: str, revision: int) -> str:
    """What was decided at one time."""
    return f"{override_revisions(tenant, job)}/revision-{_counted('revision', revision):06d}.json"


def attempt_number(folder: str) -> int | None:
    """The attempt whose folder has that name; None for another folder."""
    match = _ATTEMPT.fullmatch(folder)
    return None if match is None else int(match[1])


def weights_shard(tenant: str, job: str, attempt: int, round_number: int) -> str:
    """The weights after one round."""
    return f"{_attempt(tenant, job, attempt)}/weights/round-{_counted('round', round_number):04d}.parquet"


def checkpoints(tenant: str, job: str, attempt: int) -> str:
    """The folder of the checkpoints of one attempt."""
    return f"{_attempt(tenant, job, attempt)}/checkpoints"


def checkpoint(tenant: str, job: str, attempt: int, step: int) -> str:
    """One checkpoint."""
    return f"{checkpoints(tenant, job, attempt)}/step-{_counted('step', step):06d}.safetensors"


def is_checkpoint(path: str) -> bool:
    """Whether a path lies in a folder that `checkpoints` names."""
    return _CHECKPOINT.fullmatch(path) is not None


def checkpoint_step(path: str) -> int:
    """The step of a path that `checkpoint` made.

    Raises:
        ValueError: it made no such path.
    """
    match = _STEP.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r} is no path of a checkpoint; one ends in step-000001.safetensors")
    return int(match[1])


def soft_targets(tenant: str, job: str, attempt: int) -> str:
    """What the teacher said, as the first attempt that asked it kept it."""
    return f"{_attempt(tenant, job, attempt)}/soft-targets.safetensors"


def model_outputs(tenant: str, sha256: str) -> str:
    """What a model file said; the hash is that of the model, the rows and how it was asked."""
    return f"tenants/{tenant_id(tenant)}/model-outputs/{sha256_hex(sha256)}.safetensors"


def network(tenant: str, job: str, attempt: int) -> str:
    """The student's network, as the first attempt that had to choose it kept it."""
    return f"{_attempt(tenant, job, attempt)}/network.json"


def bundle_file(tenant: str, job: str, attempt: int, file: str) -> str:
    """One file of the bundle; ``file`` is relative to the bundle."""
    wanted = "a relative path of letters, digits, dots, hyphens and underscores, no part starting with a dot"
    return f"{_attempt(tenant, job, attempt)}/bundle/{_checked('file', file, _FILE, wanted)}"


def attempt_manifest(tenant: str, job: str, attempt: int) -> str:
    """What the attempt left; written last."""
    return f"{_attempt(tenant, job, attempt)}/manifest.json"


def _attempt(tenant: str, job: str, attempt: int) -> str:
    return f"{job_folder(tenant, job)}/attempt-{_counted('attempt', attempt)}"


def _checked(field: str, value: str, pattern: re.Pattern[str], wanted: str) -> str:
    if pattern.fullmatch(value) is None:
        raise InvalidInputError.of(field, f"is {value[:200]!r}; write {wanted}")
    return value


def _counted(field: str, value: int) -> int:
    if value < 0:
        raise InvalidInputError.of(field, f"is {value}; it counts from 0")
    return value
