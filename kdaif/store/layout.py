"""Every path in the blob store. Paths are made here from checked parts, so none can leave its tenant.

    tenants/{tenant}/blobs/{sha256}
    tenants/{tenant}/datasets/{dataset}.json
    tenants/{tenant}/model-outputs/{sha256}.safetensors
    tenants/{tenant}/jobs/{job}/job-{version:010d}.json
    tenants/{tenant}/jobs/{job}/shards/{along,rows}-{sha256}.safetensors
    tenants/{tenant}/jobs/{job}/shards/scores-{sha256 along}-{sha256 of rows}.safetensors
    tenants/{tenant}/jobs/{job}/overrides/revision-{n:06d}.json
    tenants/{tenant}/jobs/{job}/attempt-{n}/weights/round-{r:04d}.parquet
    tenants/{tenant}/jobs/{job}/attempt-{n}/evidence.parquet
    tenants/{tenant}/jobs/{job}/attempt-{n}/checkpoints/step-{k:06d}.safetensors
    tenants/{tenant}/jobs/{job}/attempt-{n}/bundle/{file}
    tenants/{tenant}/jobs/{job}/attempt-{n}/test-predictions.parquet
    tenants/{tenant}/jobs/{job}/attempt-{n}/manifest.json
    tenants/{tenant}/jobs/{job}/attempt-{n}/review.json
    tenants/{tenant}/lines/{line}/revision-{n:06d}.json
    tenants/{tenant}/audit/entry-{n:08d}.json

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
_LINE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FILE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}(/[0-9A-Za-z][0-9A-Za-z._-]{0,127}){0,7}")
_ATTEMPT = re.compile(r"attempt-([0-9]+)")
_RECORD = re.compile(r"(?:.*/)?job-([0-9]{10,})\.json")
_CHECKPOINT = re.compile(r"tenants/[^/]+/jobs/[^/]+/attempt-[0-9]+/checkpoints/.+")
_SHARD_FILE = re.compile(r"tenants/[^/]+/jobs/[^/]+/shards/.+")
_LINE_REVISION = re.compile(r"(?:.*/)?revision-([0-9]{6,})\.json")
_AUDIT_ENTRY = re.compile(r"(?:.*/)?entry-([0-9]{8,})\.json")
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


def evidence(tenant: str, job: str, attempt: int) -> str:
    """The explained samples."""
    return f"{_attempt(tenant, job, attempt)}/evidence.parquet"


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


def shards(tenant: str, job: str) -> str:
    """The folder of what the shards of a scoring are given and leave."""
    return f"{job_folder(tenant, job)}/shards"


def is_shard_file(path: str) -> bool:
    """Whether a path lies in a folder that `shards` names."""
    return _SHARD_FILE.fullmatch(path) is not None


def shard_along(tenant: str, job: str, sha256: str) -> str:
    """What the rows of a scoring are scored along."""
    return f"{shards(tenant, job)}/along-{sha256_hex(sha256)}.safetensors"


def shard_rows(tenant: str, job: str, sha256: str) -> str:
    """The rows of a shard, with their soft targets."""
    return f"{shards(tenant, job)}/rows-{sha256_hex(sha256)}.safetensors"


def shard_scores(tenant: str, job: str, along: str, rows: str) -> str:
    """The scores of these rows along that, by the SHA-256 of both."""
    return f"{shards(tenant, job)}/scores-{sha256_hex(along)}-{sha256_hex(rows)}.safetensors"


def soft_targets(tenant: str, job: str, attempt: int) -> str:
    """What the teacher said, as the first attempt that asked it kept it."""
    return f"{_attempt(tenant, job, attempt)}/soft-targets.safetensors"


def largest_soft_targets(tenant: str, job: str, attempt: int) -> str:
    """The same, where each row keeps its largest classes: elsewhere, for workers of before do not know that form."""
    return f"{_attempt(tenant, job, attempt)}/largest-soft-targets.safetensors"


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


def test_predictions(tenant: str, job: str, attempt: int) -> str:
    """What the shipped student says of each test row. No file of the bundle: devices have no use for it."""
    return f"{_attempt(tenant, job, attempt)}/test-predictions.parquet"


def attempt_manifest(tenant: str, job: str, attempt: int) -> str:
    """What the attempt left; written last."""
    return f"{_attempt(tenant, job, attempt)}/manifest.json"


def review_manifest(tenant: str, job: str, attempt: int) -> str:
    """What the attempt left for the person who reviews it."""
    return f"{_attempt(tenant, job, attempt)}/review.json"


def lines(tenant: str) -> str:
    """The folder of the lines of students."""
    return f"{TENANTS}/{tenant_id(tenant)}/lines"


def line_revisions(tenant: str, line: str) -> str:
    """The folder of every change of one line."""
    return f"{lines(tenant)}/{_checked('line', line, _LINE, 'lower-case letters, digits and hyphens, at most 63')}"


def line_revision(tenant: str, line: str, revision: int) -> str:
    """One change of a line, with the line as it was from then on."""
    return f"{line_revisions(tenant, line)}/revision-{_counted('revision', revision):06d}.json"


def line_revision_number(path: str) -> int:
    """The number of a path that `line_revision` made.

    Raises:
        ValueError: it made no such path.
    """
    match = _LINE_REVISION.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r} is no revision of a line; one ends in revision-000001.json")
    return int(match[1])


def audit_log(tenant: str) -> str:
    """The folder of everything that people decided."""
    return f"{TENANTS}/{tenant_id(tenant)}/audit"


def audit_entry(tenant: str, number: int) -> str:
    """One entry of the audit log."""
    return f"{audit_log(tenant)}/entry-{_counted('number', number):08d}.json"


def audit_entry_number(path: str) -> int | None:
    """The number in a path that `audit_entry` made; None for another path."""
    match = _AUDIT_ENTRY.fullmatch(path)
    return None if match is None else int(match[1])


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
