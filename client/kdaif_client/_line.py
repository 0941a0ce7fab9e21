# Generated from _async/line.py by tools/generate_blocking.py; edit that, then run `make blocking`.
"""A handle on one line of students."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from kdaif_proto.v1 import students_pb2 as pb

from kdaif_client import _convert, _convert_rollout
from kdaif_client._download import download
from kdaif_client._names import resource_name
from kdaif_client._paging import page_size, pages
from kdaif_client._progress import byte_bar
from kdaif_client._rpc import Rpc
from kdaif_client._running import entered, first
from kdaif_client._swap import swapped
from kdaif_client.errors import FailedPrecondition
from kdaif_client.rollout_types import LineInfo, LineRevision, Resolved, Rollout
from kdaif_client.types import StudentInfo

__all__ = ["Line"]


class Line:
    """Students that follow one another on the same devices. Made by ``Client.line``; asks the server at each call.

    >>> line = client.line("intents")
    >>> line.set_champion(first_student)
    >>> line.canary(better_student, share=0.05)     # the same 5 % of the devices, however often they ask
    >>> running = line.resolve("cam-17")
    >>> line.promote()

    Every change takes ``author`` (default ``KDAIF_AUTHOR``, or who is logged in), ``reason``, and
    ``expected_revision``: the change is refused when the line is at another revision than that.
    """

    def __init__(self, rpc: Rpc, tenant: str, line: str, patience_s: float) -> None:
        self._rpc = rpc
        self._tenant = tenant
        self._line = line
        self._patience_s = patience_s

    def __repr__(self) -> str:
        return f"Line({self.name!r})"

    @property
    def name(self) -> str:
        """Resource name, ``tenants/{tenant}/lines/{line}``."""
        return f"{self._parent}/lines/{self._line}"

    @property
    def champion(self) -> str:
        """The champion's name. Raises NotFound while the line has none."""
        return self.get().champion

    def get(self) -> LineInfo:
        """Champion, canary and share. Raises NotFound while the line has no champion."""
        request = pb.GetAliasesRequest(parent=self._parent, line=self._line)
        return _convert_rollout.line(self._rpc.call(self._rpc.students.GetAliases, request).line)

    def set_champion(
        self,
        student: StudentInfo | str,
        *,
        reason: str = "",
        author: str | None = None,
        force: bool = False,
        margin: float | None = None,
        group_margin: float | None = None,
        expected_revision: int | None = None,
    ) -> LineInfo:
        """Makes a student the champion at once, for all devices; the one before can be gone back to.

        Args:
            student: its name or id.
            reason: why; kept for good.
            author: who decides; kept for good.
            force: whatever the promotion gate finds.
            margin: what it may lose in accuracy against the champion on the same test rows, 0 to 1; default 0.01.
            group_margin: the same of the worst group; default ``margin``.
            expected_revision: of the line; 0 where it shall not be there yet.

        Raises:
            FailedPrecondition: the gate does not let it through, or the line is at another revision.
        """
        return self._set(
            pb.SetAliasRequest(alias=pb.ALIAS_CHAMPION, gate=_gate(force, margin, group_margin)),
            student,
            author,
            reason,
            expected_revision,
        )

    def canary(
        self,
        student: StudentInfo | str,
        share: float = 0.05,
        *,
        automatic: bool = False,
        reason: str = "",
        author: str | None = None,
        force: bool = False,
        margin: float | None = None,
        group_margin: float | None = None,
        expected_revision: int | None = None,
    ) -> LineInfo:
        """Tries a student on a share of the devices, or changes the share of the one that is tried.

        A larger share keeps the devices of a smaller one.

        Args:
            student: its name or id.
            share: of the devices, 0 to 1.
            automatic: the server promotes it or rolls it back once outcomes have decided. It has to pass the gate now.
            reason: why; kept for good.
            author: who decides; kept for good.
            force: it may be promoted whatever the promotion gate finds.
            margin: of the gate, see ``set_champion``.
            group_margin: of the gate.
            expected_revision: of the line.

        Raises:
            FailedPrecondition: there is no champion or another canary, or the gate does not let it through.
        """
        request = pb.SetAliasRequest(
            alias=pb.ALIAS_CANARY, share=share, automatic=automatic, gate=_gate(force, margin, group_margin)
        )
        return self._set(request, student, author, reason, expected_revision)

    def promote(
        self,
        *,
        reason: str = "",
        author: str | None = None,
        force: bool = False,
        margin: float | None = None,
        group_margin: float | None = None,
        expected_revision: int | None = None,
    ) -> LineInfo:
        """The canary becomes the champion, for all devices.

        Raises:
            FailedPrecondition: there is no canary, or the promotion gate does not let it through.
        """
        request = pb.PromoteCanaryRequest(
            parent=self._parent,
            line=self._line,
            author=_author(author),
            reason=reason,
            expected_revision=expected_revision,
            gate=_gate(force, margin, group_margin),
        )
        answer = self._rpc.call(self._rpc.students.PromoteCanary, request)
        return _convert_rollout.line(answer.line, answer.gate)

    def roll_back(
        self,
        *,
        champion: bool = False,
        reason: str = "",
        author: str | None = None,
        expected_revision: int | None = None,
    ) -> LineInfo:
        """Drops the canary; with ``champion`` goes back to the champion before, and drops the canary too.

        Raises:
            FailedPrecondition: there is no canary, or no champion before.
        """
        request = pb.RollBackRequest(
            parent=self._parent,
            line=self._line,
            alias=pb.ALIAS_CHAMPION if champion else pb.ALIAS_CANARY,
            author=_author(author),
            reason=reason,
            expected_revision=expected_revision,
        )
        return _convert_rollout.line(self._rpc.call(self._rpc.students.RollBack, request).line)

    def resolve(self, device: str) -> Resolved:
        """What a device should run; the same until the line changes.

        Args:
            device: any text of up to 256 characters that stays that of the device.
        """
        request = pb.ResolveAliasRequest(parent=self._parent, line=self._line, device_key=device)
        return _convert_rollout.resolved(self._rpc.call(self._rpc.students.ResolveAlias, request))

    def report(
        self,
        running: Resolved,
        *,
        predictions: int = 0,
        right: int = 0,
        total: int = 0,
        request_id: str | None = None,
    ) -> Rollout:
        """Adds what a device saw since its last report.

        Args:
            running: what the device ran, as ``resolve`` told it.
            predictions: how many it made.
            right: of those whose truth became known, how many were right.
            total: how many became known.
            request_id: the same id and numbers count once, for a day. Made when left out.

        Raises:
            FailedPrecondition: the rollout is over, or none was going on; resolve again.
            AlreadyExists: ``request_id`` came with other numbers.
        """
        if not running.rollout:
            raise FailedPrecondition(f"No rollout was going on in {self.name}, so nothing is counted; resolve again.")
        request = pb.ReportOutcomesRequest(
            parent=self._parent,
            line=self._line,
            rollout=running.rollout,
            student=running.student,
            request_id=uuid.uuid4().hex if request_id is None else request_id,
            predictions=predictions,
            right=right,
            total=total,
        )
        return _convert_rollout.rollout(self._rpc.call(self._rpc.students.ReportOutcomes, request).rollout)

    def rollout(self, name: str = "") -> Rollout:
        """What devices saw of champion and canary, and what that says; default of the rollout that is going on."""
        request = pb.GetRolloutRequest(parent=self._parent, line=self._line, rollout=name)
        return _convert_rollout.rollout(self._rpc.call(self._rpc.students.GetRollout, request).rollout)

    def history(self, limit: int | None = None) -> Iterator[LineRevision]:
        """Every change, newest first: who, when, why and what."""
        return first(self._revisions(), limit)

    def pull(
        self, folder: str | Path, *, device: str = "", alias: str = "champion", progress: bool = False
    ) -> tuple[Resolved, bool]:
        """Brings what a device should run into a folder, verified, and swaps the folder in one step.

        ``folder`` becomes a symbolic link, so that whoever opens it finds the old student or the new one, whole. The
        one before stays on the disk until the next change.

        Args:
            folder: where programs of the device look for the student.
            device: gets the canary if it is among its share. Left out: the champion.
            alias: "champion", or "canary" to try the canary itself.
            progress: show a bar on the terminal's error stream.

        Returns:
            What the folder holds now, and whether it held something else before.

        Raises:
            FailedPrecondition: there is no canary.
            CorruptDownload: bytes that do not match their hash; the folder is as it was.
        """
        running = self.resolve(device) if device and alias == "champion" else self._by_alias(alias)
        request = pb.GetStudentRequest(name=running.student)
        student = _convert.student(self._rpc.call(self._rpc.students.GetStudent, request).student)
        version = student.name.rsplit("/", 1)[-1]
        with entered(swapped(Path(folder), version)) as place:
            with byte_bar("Downloading", shown=progress) as tell:
                download(self._rpc, student, place.folder, self._patience_s, tell)
        return running, place.changes

    def _by_alias(self, alias: str) -> Resolved:
        info = self.get()
        canary = info.canary
        if alias == "champion":
            return Resolved(info.champion, False, info.revision, canary.rollout if canary else "")
        if canary is None:
            raise FailedPrecondition(f"{self.name} has no canary; no rollout is going on.")
        return Resolved(canary.student, True, info.revision, canary.rollout)

    def _set(
        self,
        request: pb.SetAliasRequest,
        student: StudentInfo | str,
        author: str | None,
        reason: str,
        expected_revision: int | None,
    ) -> LineInfo:
        request.parent, request.line = self._parent, self._line
        request.student = resource_name(self._tenant, "students", student, "student")
        request.author, request.reason = _author(author), reason
        if expected_revision is not None:
            request.expected_revision = expected_revision
        answer = self._rpc.call(self._rpc.students.SetAlias, request)
        return _convert_rollout.line(answer.line, answer.gate)

    def _revisions(self) -> Iterator[LineRevision]:
        request = pb.ListAliasRevisionsRequest(parent=self._parent, line=self._line, page_size=page_size(None))
        for page in pages(self._rpc, self._rpc.students.ListAliasRevisions, request):
            for each in page.revisions:
                yield _convert_rollout.revision(each)

    @property
    def _parent(self) -> str:
        return f"tenants/{self._tenant}"


def _gate(force: bool, margin: float | None, group_margin: float | None) -> pb.Gate:
    return pb.Gate(force=force, margin=margin, group_margin=group_margin)


def _author(given: str | None) -> str:
    if given is not None:
        return given
    try:
        return os.environ.get("KDAIF_AUTHOR") or getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in many containers
        return "unknown"
