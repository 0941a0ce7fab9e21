"""A downloaded student: verified, then run by plain onnxruntime. Needs the ``edge`` extra.

Verifying alone needs neither::

    from kdaif_client.bundle import Student, verify

    verify("student/")                          # raises CorruptDownload when a byte differs
    Student.open("student/").predict(X)         # verifies, then runs
    Student.open("student/", variant="auto").decide(X, abstain_below=0.9)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kdaif_client._cpu import usable_cpus
from kdaif_client._edge_inputs import EdgeInputs, need
from kdaif_client._signature import check_file, check_hash
from kdaif_client.errors import CorruptDownload, FailedPrecondition, InvalidArgument, NotFound, ServerError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MANIFEST", "MODEL", "VARIANTS", "Decisions", "Student", "verify"]

MANIFEST = "manifest.json"
MODEL = "model.onnx"
VARIANTS = {"fp32": MODEL, "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
_FEATURES = "features"

# Bounds the memory of one run; the model gives the same answers at every batch size.
_BATCH_ROWS = 1024


def verify(folder: str | Path, *, public_key: str | Path | None = None) -> dict[str, Any]:
    """Checks size and SHA-256 of every file that the manifest names, and with a key who published the manifest.

    Args:
        folder: what ``kdaif pull`` filled.
        public_key: PEM file that ``kdaif-server public-key`` printed; needs the ``signed`` extra. Without one a byte
            that changed by itself is found, the manifest's too where ``signature.json`` is there; but whoever can
            change all files of the folder can change the student.

    Returns:
        The manifest.

    Raises:
        NotFound: there is no bundle in ``folder``.
        CorruptDownload: a file is missing or differs from what was published, or the key did not sign the manifest.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise NotFound(f"{folder} holds no {MANIFEST}; give the folder that `kdaif pull` or download_student filled.")
    manifest_sha256 = sha256_of(folder / MANIFEST)
    check_hash(folder, manifest_sha256)
    if public_key is not None:
        check_file(folder, manifest_sha256, Path(public_key))
    manifest = read_manifest((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
    for path, entry in manifest["files"].items():
        file = folder / local_path(path)
        if not file.is_file():
            raise CorruptDownload(f"{file} is missing from the bundle; pull the student again.")
        size, sha256 = file.stat().st_size, sha256_of(file)
        if size != entry["size_bytes"] or sha256 != entry["sha256"]:
            raise CorruptDownload(
                f"{file} is not what was published: {size} bytes with SHA-256 {sha256}, where {MANIFEST} says "
                f"{entry['size_bytes']} bytes with {entry['sha256']}. Delete it and pull the student again."
            )
    return manifest


def read_manifest(data: bytes, where: str) -> dict[str, Any]:
    """The manifest, with the parts that this client relies on checked for presence."""
    try:
        manifest = json.loads(data)
        if manifest["format_version"] != 1:
            raise InvalidArgument(
                f"{where} has format {manifest['format_version']}, and this client reads 1: "
                "pip install --upgrade kdaif-client"
            )
        for entry in manifest["files"].values():
            _ = entry["sha256"], entry["size_bytes"]
        _ = manifest["class_names"], manifest["outputs"]
        _ = manifest["input"]["name"], manifest["input"]["kind"], manifest["input"]["shape"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptDownload(
            f"{where} is no manifest of a kdaif bundle ({error!r}); pull the student again."
        ) from None
    return dict(manifest)


def local_path(path: str) -> Path:
    """The path of a bundle's file below its folder. Refuses whatever would lead out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path or "\0" in path:
        raise CorruptDownload(f"The bundle names a file {path!r}, which would lie outside its folder; it is refused.")
    return Path(*parts)


def sha256_of(file: Path) -> str:
    """Hexadecimal SHA-256, streamed."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Decisions:
    """What a student says of rows, and where it would rather say nothing.

    Attributes:
        labels: [N] strings; "" where it abstains.
        confidences: float32 [N], the probability of the most probable class, also where it abstains.
        abstained: bool [N].
    """

    labels: NDArray[np.str_]
    confidences: NDArray[np.float32]
    abstained: NDArray[np.bool_]


class Student:
    """A verified student. Safe to use from several threads.

    Threads are as many as the CPUs that this process may use (affinity and control group), and they do not spin while
    they wait.

    Attributes:
        folder: where the bundle is.
        manifest: what ``manifest.json`` says.
        class_names: in the order of the columns of ``predict_proba``.
        variant: ``"fp32"``, ``"fp16"`` or ``"int8"``, the one that runs.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], variant: str = "fp32") -> None:
        onnxruntime = need("onnxruntime", folder)
        need("numpy", folder)
        self.folder = folder
        self.manifest = manifest
        self.class_names: tuple[str, ...] = tuple(manifest["class_names"])
        self.variant = _chosen(variant, manifest["files"], folder)
        self._inputs = EdgeInputs(folder, manifest["input"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = usable_cpus()
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        model = folder / VARIANTS[self.variant]
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen kinds that share no base of their own
            raise ServerError(
                f"onnxruntime {onnxruntime.__version__} cannot read {model}: {error}. certificate.json names "
                "the oldest release that can."
            ) from error

    @classmethod
    def open(cls, folder: str | Path, *, variant: str = "fp32", public_key: str | Path | None = None) -> Student:
        """Verifies every file of the bundle and loads the model.

        Args:
            folder: what ``kdaif pull`` filled.
            variant: ``"fp32"``, which every bundle has; ``"fp16"`` or ``"int8"``, which only some have; or ``"auto"``,
                int8 where the bundle has it, else fp32.
            public_key: as that of `verify`.

        Raises:
            InvalidArgument: the bundle has no such variant.
            NotFound: there is no bundle in ``folder``.
            CorruptDownload: a file is missing or differs from what was published.
            MissingDependency: numpy, onnxruntime or, for text, tokenizers is not installed.
        """
        return cls(Path(folder), verify(folder, public_key=public_key), variant)

    def __repr__(self) -> str:
        return f"Student({str(self.folder)!r}, {len(self.class_names)} classes, input {self._inputs.wanted()})"

    def predict(self, X: Any, *, abstain_below: float | None = None) -> NDArray[np.str_]:
        """The most probable class of each row, by name: [N] strings. ``X`` as in ``predict_proba``.

        Where its probability is below ``abstain_below`` the name is "".
        """
        return self.decide(X, abstain_below=abstain_below).labels

    def decide(self, X: Any, *, abstain_below: float | None = None) -> Decisions:
        """The most probable class of each row, how probable it is, and whether that is too little.

        Args:
            X: as in ``predict_proba``.
            abstain_below: 0 to 1; a row whose most probable class is less probable than this gets no label.

        Raises:
            InvalidArgument: as ``predict_proba``, or ``abstain_below`` is not 0 to 1.
        """
        import numpy as np

        if abstain_below is not None and not 0 <= abstain_below <= 1:  # so is NaN refused
            raise InvalidArgument.of("abstain_below", f"is {abstain_below}; give a probability, 0 to 1")
        proba = self.predict_proba(X)
        confidences = proba.max(axis=1)
        abstained = confidences < (0 if abstain_below is None else abstain_below)
        labels = np.where(abstained, "", np.asarray(self.class_names)[proba.argmax(axis=1)])
        return Decisions(labels, confidences, abstained)

    def embed(self, X: Any) -> NDArray[np.float32]:
        """What the last layer sees of each row: float32 [N, F]. ``X`` as in ``predict_proba``.

        Rows that the student holds for alike lie close together: for a search for neighbours, for clusters, or for
        another model on top.

        Raises:
            FailedPrecondition: the bundle was published before files had features.
            InvalidArgument: as ``predict_proba``.
        """
        given = [output.name for output in self._session.get_outputs()]
        if _FEATURES not in given:
            raise FailedPrecondition(
                f"{self.folder / VARIANTS[self.variant]} has no output {_FEATURES!r}, only {', '.join(given)}: it was "
                "published before students had one. Upgrade the server and its workers, submit the job again and pull "
                "its student; until then use predict_proba, whose columns are the classes."
            )
        return self._run(_FEATURES, X)

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """The probability of each class: float32 [N, C], columns in the order of ``class_names``.

        Args:
            X: raw rows; preprocessing is inside the model. Images: uint8 [N, H, W, C], or [N, H, W] where there is one
                channel; or a list of PNG or JPEG files, as bytes or paths, or a data frame with the column ``image`` of
                such bytes, scaled as in training (needs the ``pictures`` extra). Numbers: [N, D] of any integer or
                float type, or a data frame or dict that has the columns named in the manifest. Where some hold
                categories these come by name, as str, int or bool, and an unknown one will do; None, NaN and the like
                are taken in the columns that the manifest calls nullable. Text: a list or array of str, or a data frame
                or dict that has the column.

        Raises:
            InvalidArgument: wrong type, shape or column, or a value that is infinite, or null where none may be.
        """
        return self._run("probabilities", X)

    def _run(self, output: str, X: Any) -> NDArray[np.float32]:
        import numpy as np

        rows, name = self._inputs.rows(X), self.manifest["input"]["name"]
        result: NDArray[np.float32] = np.concatenate(
            [
                self._session.run([output], {name: rows[start : start + _BATCH_ROWS]})[0]
                for start in range(0, len(rows), _BATCH_ROWS)
            ]
            or [np.empty((0, self._width(output)), np.float32)]
        )
        if not np.isfinite(result).all():
            bad = np.flatnonzero(~np.isfinite(result).all(axis=1))
            raise InvalidArgument.of("X", f"makes the model overflow in {len(bad)} rows, first {bad[:10].tolist()}")
        return result

    def _width(self, output: str) -> int:
        return next(int(told.shape[1]) for told in self._session.get_outputs() if told.name == output)


def _chosen(variant: str, files: Mapping[str, Any], folder: Path) -> str:
    present = [name for name, file in VARIANTS.items() if file in files]
    if variant == "auto":
        return "int8" if "int8" in present else "fp32"
    if variant not in present:
        raise InvalidArgument.of(
            "variant",
            f"is {variant!r}, and {folder} has {', '.join(present)}; give one of these or 'auto'. certificate.json "
            "says why another was left out",
        )
    return variant
