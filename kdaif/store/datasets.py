"""DatasetStore: a data set is declared, uploaded in pieces, verified and then published for good."""

from __future__ import annotations

import builtins
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kdaif.errors import (
    AlreadyExistsError,
    DataCorruptedError,
    FailedPreconditionError,
    InvalidInputError,
)
from kdaif.records import Dataset, DatasetKind, DatasetState
from kdaif.store import layout
from kdaif.store.admission import Admission
from kdaif.store.blobs import BlobStore
from kdaif.store.copies import local_copy
from kdaif.store.dataset_records import DatasetRecords
from kdaif.store.failures import translated
from kdaif.store.kinds import Inspect, InspectModel, Inspectors, require_kind, require_same
from kdaif.store.pieces import Pieces
from kdaif.store.references import References
from kdaif.store.room import UploadLimits
from kdaif.store.uploads import RECORD, Spool, UploadWriter
from kdaif.store.verification import verified

_LONGEST_NAME = 256


class DatasetStore:
    """Data sets of all tenants. Uploads in progress live in a local spool, finished ones in the blob store.

    The spool belongs to one host: clients of several servers must reach the same one for the whole of an upload, or
    the servers must share the folder.

    Args:
        blobs: where finished data sets go.
        spool_dir: where uploads in progress live; must outlast a restart.
        inspect: tells rows and columns of a file, and raises InvalidInputError when it is no readable Parquet file.
        inspect_model: looks at files of the other kinds, which are refused without it.
        references: what may be read where it is instead of being uploaded.
        limits: how much uploads may take.
    """

    def __init__(
        self,
        blobs: BlobStore,
        spool_dir: Path,
        inspect: Inspect,
        *,
        inspect_model: InspectModel | None = None,
        references: References | None = None,
        limits: UploadLimits | None = None,
    ) -> None:
        self._blobs = blobs
        limits = limits or UploadLimits()
        self._spool = Spool(spool_dir, limits.disk_reserve_bytes)
        self._records = DatasetRecords(blobs, self._spool)
        self._pieces = Pieces(self._spool, limits.piece_bytes)
        self._admission = Admission(blobs, self._spool, limits)
        self._inspectors = Inspectors(inspect, inspect_model)
        self._references = references or References()

    def create(
        self,
        tenant: str,
        display_name: str,
        sha256: str,
        size_bytes: int,
        kind: DatasetKind = DatasetKind.TABLE,
    ) -> tuple[Dataset, int]:
        """Declares an upload, finds the one in progress, or finds the finished data set.

        Bytes that were registered are not stored, so they are taken like new ones; once they are here they are read
        from here. Until then jobs go on reading them where they were.

        Returns:
            The data set and how many of its bytes are safe; all of them when it is READY.

        Raises:
            InvalidInputError: a wrong hash, size or name.
            AlreadyExistsError: the same hash was declared with another size or kind.
            QuotaExceededError: it would be more than the tenant may keep.
            UnavailableError: there is no room for so many bytes, or the blob store does not answer.
        """
        dataset_id = layout.sha256_hex(sha256)[:32]
        layout.tenant_id(tenant)
        if size_bytes < 1:
            raise InvalidInputError.of("size_bytes", f"is {size_bytes}; a file has at least one byte")
        self._check(display_name, kind)
        with self._spool.locked(tenant):
            known = self._records.known(tenant, dataset_id)
            if known is not None:
                require_same(known, sha256, size_bytes)
                require_kind(known, kind)
            if known is None or known.uri:
                uploading = DatasetState.UPLOADING
                known = Dataset(tenant, dataset_id, display_name, uploading, sha256, size_bytes, _now_ms(), kind=kind)
                self._admission.admit(known)
                self._spool.create(known)
        return known, self._committed(known)

    def used_bytes(self, tenant: str) -> int:
        """What counts towards a tenant's quota, as `Admission.used_bytes` tells."""
        return self._admission.used_bytes(tenant)

    def register(self, tenant: str, display_name: str, uri: str, kind: DatasetKind = DatasetKind.TABLE) -> Dataset:
        """Makes a data set of a file that stays where it is: reads it once, hashes and checks it, keeps no byte.

        The same bytes at another URI make the same data set, which then is read from there. Bytes that were uploaded
        are not read from elsewhere.

        Raises:
            InvalidInputError: a URI that is not allowed, a wrong name, or no file of this kind.
            NotFoundError: nothing is there.
            AlreadyExistsError: these bytes are a data set of another kind.
            UnavailableError: the place does not answer, or the spool is full.
        """
        self._check(display_name, kind)
        digest, size = hashlib.sha256(), 0
        with self._references.open(uri) as source, self._spool.staged(tenant) as file:
            for chunk in source.chunks:
                digest.update(chunk)
                size += len(chunk)
                self._spool.room.require(len(chunk), f"copy {uri} to look at it")
                with translated(f"copy {uri} to look at it"):
                    file.write(chunk)
            with translated(f"copy {uri} to look at it"):
                file.flush()
            found = self._inspectors.inspect(Path(file.name), kind)
            etag = source.etag
        sha256 = digest.hexdigest()
        fresh = Dataset(
            tenant=tenant,
            id=sha256[:32],
            display_name=display_name,
            state=DatasetState.READY,
            sha256=sha256,
            size_bytes=size,
            created_at_ms=_now_ms(),
            kind=kind,
            uri=uri,
            etag=etag,
            **found.__dict__,
        )
        with self._spool.locked(tenant):
            known = self._records.ready(tenant, fresh.id)
            if known is not None:
                require_kind(known, kind)
                if not known.uri:
                    return known
            self._blobs.replace_bytes(layout.dataset(tenant, fresh.id), RECORD.dump_json(fresh))
        return fresh

    def open_writer(self, tenant: str, dataset_id: str, offset: int) -> UploadWriter:
        """Goes on with an upload at ``offset``. Only one writer may be open.

        Raises:
            NotFoundError: no such data set.
            FailedPreconditionError: it is READY, or ``offset`` is not the committed size.
            UnavailableError: another writer has it open, or there is no room for the rest.
        """
        dataset = self.upload_of(tenant, dataset_id)
        if dataset.state is DatasetState.READY:
            raise FailedPreconditionError(f"data set {dataset_id} is complete; there is nothing to write")
        descriptor = self._spool.lock(dataset)
        try:
            self._pieces.join(dataset)
            committed = self._spool.durable_bytes(dataset)
            if offset != committed:
                raise FailedPreconditionError(
                    f"data set {dataset_id} has {committed} bytes, so {offset} is the wrong place; go on at {committed}"
                )
            self._admission.require_room(dataset, dataset.size_bytes - committed, "go on with")
            return UploadWriter(dataset, descriptor, self._spool.room)
        except BaseException:
            os.close(descriptor)
            raise

    def piece_bytes(self) -> int:
        """Size of every piece but the last of an upload."""
        return self._pieces.piece_bytes

    def open_piece_writer(self, tenant: str, dataset_id: str, start: int, offset: int) -> UploadWriter:
        """Goes on with the piece of an upload that begins at ``start``, at ``offset`` of it.

        Different pieces may be written at a time. Raises NotFoundError, and what `Pieces.open_writer` raises.
        """
        dataset = self.upload_of(tenant, dataset_id)
        if dataset.state is DatasetState.READY:
            raise FailedPreconditionError(f"data set {dataset_id} is complete; there is nothing to write")
        return self._pieces.open_writer(dataset, start, offset)

    def finish_piece(self, tenant: str, dataset_id: str, start: int, sha256: str) -> Dataset:
        """Verifies a piece of an upload. Raises NotFoundError, and what `Pieces.finish` raises."""
        dataset = self.upload_of(tenant, dataset_id)
        if dataset.state is not DatasetState.READY:
            self._pieces.finish(dataset, start, sha256)
        return dataset

    def piece_committed_size(self, tenant: str, dataset_id: str, start: int) -> tuple[int, bool]:
        """How many bytes of a piece are safe, and whether it is verified. Raises what `Pieces.committed` raises."""
        dataset = self.upload_of(tenant, dataset_id)
        if dataset.state is DatasetState.READY:
            return self._pieces.size(dataset, start), True
        return self._pieces.committed(dataset, start), self._pieces.is_done(dataset, start)

    def append(self, tenant: str, dataset_id: str, offset: int, chunks: Iterable[bytes]) -> int:
        """Writes all ``chunks`` from ``offset`` on and returns the committed size; raises what the writer raises."""
        with self.open_writer(tenant, dataset_id, offset) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit()

    def finish(self, tenant: str, dataset_id: str) -> Dataset:
        """Verifies an upload and publishes it. Repeated, it returns the same data set.

        Raises:
            NotFoundError: no such data set.
            FailedPreconditionError: bytes are missing.
            DataCorruptedError: the bytes do not have the declared hash; the upload is discarded.
            InvalidInputError: the bytes are no readable Parquet file; the upload is discarded.
            UnavailableError: a writer is still open, or a store is full or does not answer. The upload is kept.
        """
        dataset = self.upload_of(tenant, dataset_id)
        if dataset.state is DatasetState.READY:
            self._discard(dataset)
            return dataset
        descriptor = self._spool.lock(dataset)
        try:
            self._pieces.join(dataset)
            return self._publish(self._verified(dataset))
        finally:
            os.close(descriptor)

    def _discard(self, dataset: Dataset) -> None:
        with self._spool.locked(dataset.tenant):
            self._spool.remove(dataset.tenant, dataset.id)

    def _verified(self, dataset: Dataset) -> Dataset:
        try:
            return verified(dataset, self._spool, self._inspectors)
        except (DataCorruptedError, InvalidInputError):
            self._discard(dataset)
            raise

    def _check(self, display_name: str, kind: DatasetKind) -> None:
        if len(display_name) > _LONGEST_NAME:
            raise InvalidInputError.of("display_name", f"has {len(display_name)} characters; use {_LONGEST_NAME}")
        self._inspectors.require(kind)

    def _publish(self, dataset: Dataset) -> Dataset:
        # The blob first: a record must never name bytes that are not there. Either may be left from a former try.
        self._put_blob(dataset)
        with self._spool.locked(dataset.tenant):
            # Whoever deleted the same bytes as a data set of before may have taken the blob in between.
            if not self._blobs.exists(layout.blob(dataset.tenant, dataset.sha256)):
                self._put_blob(dataset)
            try:
                self._blobs.put_bytes(layout.dataset(dataset.tenant, dataset.id), RECORD.dump_json(dataset))
            except AlreadyExistsError:
                known = self.get(dataset.tenant, dataset.id)
                if known.uri:  # read from elsewhere until now
                    self._blobs.replace_bytes(layout.dataset(dataset.tenant, dataset.id), RECORD.dump_json(dataset))
                else:
                    dataset = known
            self._spool.remove(dataset.tenant, dataset.id)
        return dataset

    def _put_blob(self, dataset: Dataset) -> None:
        with suppress(AlreadyExistsError):
            part = self._spool.part(dataset.tenant, dataset.id)
            self._blobs.take_file(layout.blob(dataset.tenant, dataset.sha256), part)

    def committed_size(self, tenant: str, dataset_id: str) -> tuple[int, bool]:
        """How many bytes are safe, and whether the data set is READY.

        Raises:
            NotFoundError: no such data set.
        """
        dataset = self.upload_of(tenant, dataset_id)
        return self._committed(dataset), dataset.state is DatasetState.READY

    def upload_of(self, tenant: str, dataset_id: str) -> Dataset:
        """The data set as whoever uploads it sees it: UPLOADING while bytes are missing, though jobs may read it.

        Raises:
            NotFoundError: no such data set.
        """
        return self._records.known(tenant, dataset_id) or self.get(tenant, dataset_id)

    def get(self, tenant: str, dataset_id: str) -> Dataset:
        """One data set.

        Raises:
            NotFoundError: no such data set.
        """
        return self._records.get(tenant, dataset_id)

    def list(self, tenant: str, *, after: str = "", limit: int = 100) -> tuple[list[Dataset], str]:
        """Data sets in the order of their ids, UPLOADING ones included.

        Args:
            tenant: whose.
            after: cursor of the page before, or empty.
            limit: at most so many.

        Returns:
            The page, and the cursor of the next one or "".
        """
        return self._records.list(tenant, after=after, limit=limit)

    def delete(self, tenant: str, dataset_id: str) -> None:
        """Deletes a data set or gives up its upload. A file that was registered is left alone.

        Raises:
            NotFoundError: no such data set.
            UnavailableError: its upload is being written, or the store does not answer.
        """
        with self._spool.locked(tenant):
            dataset = self.get(tenant, dataset_id)
            if dataset.state is DatasetState.READY:
                self._blobs.delete(layout.dataset(tenant, dataset_id))
                # What is not ours is not there. An upload may have put bytes there and died before it could say so.
                self._blobs.delete(layout.blob(tenant, dataset.sha256))
                self._spool.remove(tenant, dataset_id)
                return
            descriptor = self._spool.lock(dataset)
            try:
                self._spool.remove(tenant, dataset_id)
            finally:
                os.close(descriptor)

    def fetch(self, tenant: str, dataset_id: str, cache_dir: Path) -> Path:
        """A local copy of a READY data set, downloaded once; it stays what was meant, whatever its place holds later.

        Raises:
            NotFoundError: no such data set, or the file that was registered is gone.
            FailedPreconditionError: it is still uploading.
            DataCorruptedError: the bytes do not have the recorded hash.
            InvalidInputError: it was registered, and this machine does not allow its place.
            UnavailableError: the disk is full or the store does not answer.
        """
        dataset = self.get(tenant, dataset_id)
        if dataset.state is not DatasetState.READY:
            raise FailedPreconditionError(f"data set {dataset_id} is still uploading; finish it first")
        return local_copy(dataset, cache_dir, lambda: self._bytes(dataset))

    @contextmanager
    def _bytes(self, dataset: Dataset) -> Iterator[Iterator[bytes]]:
        if dataset.uri:
            with self._references.open(dataset.uri) as source:
                yield source.chunks
        else:
            yield self._blobs.iter_range(layout.blob(dataset.tenant, dataset.sha256))

    def sweep(self, max_age_s: float) -> builtins.list[str]:
        """Gives up uploads that nobody has written to for ``max_age_s`` seconds, and tells their ids.

        Removes as well what crashes left behind longer ago than that: files half written, and bytes without a record.
        An upload that somebody writes, however slowly, is left alone.
        """
        self._blobs.sweep(max_age_s)
        given_up = [dataset.id for dataset in self._spool.sweep(max_age_s)]
        for tenant in self._blobs.folders(layout.TENANTS):
            records = {Path(blob.path).stem for blob in self._blobs.entries(layout.datasets(tenant))}
            for blob in self._blobs.entries(layout.blobs(tenant)):
                dataset_id = Path(blob.path).name[:32]
                if dataset_id not in records and blob.age_s > max_age_s:
                    self._sweep_blob(tenant, dataset_id, blob.path)
        return given_up

    def _sweep_blob(self, tenant: str, dataset_id: str, path: str) -> None:
        with self._spool.locked(tenant):
            if self._records.either(tenant, dataset_id) is None:
                self._blobs.delete(path)

    def _committed(self, dataset: Dataset) -> int:
        return dataset.size_bytes if dataset.state is DatasetState.READY else self._spool.durable_bytes(dataset)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
