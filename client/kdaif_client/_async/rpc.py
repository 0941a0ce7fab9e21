"""The wire for coroutines: what ``kdaif_client._rpc`` is for threads, on one channel of the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from kdaif_proto.v1 import audit_pb2_grpc, datasets_pb2_grpc, jobs_pb2_grpc, students_pb2_grpc, weights_pb2_grpc

from kdaif_client._credentials import NO_CREDENTIALS, Credentials
from kdaif_client._rpc import KEEPALIVE_MS, Attempts, Patience, channel_options, error_of
from kdaif_client._tracing import interceptors
from kdaif_client.errors import InvalidArgument, KdaifClientError

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AsyncRpc:
    """One channel and its stubs."""

    def __init__(
        self,
        target: str,
        timeout_s: float,
        *,
        away_s: float | None = None,
        keepalive_ms: int = KEEPALIVE_MS,
        shares_connection: bool = True,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidArgument(
                "An AsyncClient belongs to the event loop that runs where it is made, and none runs here. Make it in a "
                "coroutine: async with AsyncClient(...) as kdaif."
            ) from None
        self.target = target
        self.timeout_s = timeout_s
        self._away_s = timeout_s if away_s is None else away_s
        self._has_answered = False
        options = channel_options(keepalive_ms, shares_connection=shares_connection)
        self._credentials, self._metadata = credentials, credentials.metadata()
        self.public_key = credentials.public_key
        self._channel = credentials.async_channel(target, options, interceptors())
        self.datasets = datasets_pb2_grpc.DatasetServiceStub(self._channel)
        self.jobs = jobs_pb2_grpc.DistillationJobServiceStub(self._channel)
        self.weights = weights_pb2_grpc.WeightServiceStub(self._channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self._channel)
        self.students = students_pb2_grpc.StudentServiceStub(self._channel)

    def beside(self) -> AsyncRpc:
        """The same server by a TCP connection of its own. To be closed."""
        return AsyncRpc(
            self.target,
            self.timeout_s,
            away_s=self._away_s,
            shares_connection=False,
            credentials=self._credentials,
        )

    async def close(self) -> None:
        """Ends every call and the connection."""
        await self._channel.close()

    async def call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float | None = None,
    ) -> Response:
        """One request, one response; repeated where that does no harm. Raises from the tree of ``errors``."""
        attempts = Attempts(request, timeout_s or self.timeout_s, self._away_s)
        while True:
            try:
                answer: Response = await self._answer(
                    method(request, timeout=attempts.left_s(), metadata=self._metadata)
                )
            except KdaifClientError as error:
                self._has_answered = self._has_answered or bool(error.reason)
                await asyncio.sleep(attempts.pause_s(error, is_known=self._has_answered))
            else:
                self._has_answered = True
                return answer

    async def send(
        self,
        method: grpc.StreamUnaryMultiCallable[Request, Response],
        requests: AsyncIterator[Request],
        *,
        timeout_s: float,
    ) -> Response:
        """A stream of requests, one response."""
        streaming: Any = method  # typed for channels of threads, whose iterators are not async
        answer: Response = await self._answer(streaming(requests, timeout=timeout_s, metadata=self._metadata))
        return answer

    @asynccontextmanager
    async def receive(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        *,
        timeout_s: float,
    ) -> AsyncIterator[AsyncIterator[Response]]:
        """One request, a stream of responses; leaving the block ends the call."""
        call: Any = method(request, timeout=timeout_s, metadata=self._metadata)
        try:
            yield self._responses(call)
        finally:
            call.cancel()

    async def _responses(self, call: Any) -> AsyncIterator[Any]:
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise error_of(self.target, error) from None
        except asyncio.CancelledError:
            raise self._cut_or_cancelled() from None

    async def _answer(self, call: Any) -> Any:
        try:
            return await call
        except grpc.RpcError as error:
            raise error_of(self.target, error) from None
        except asyncio.CancelledError:
            raise self._cut_or_cancelled() from None

    def _cut_or_cancelled(self) -> BaseException:
        """grpc.aio raises CancelledError also where the other side ended the call with the status CANCELLED."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return asyncio.CancelledError()
        return KdaifClientError(f"{self.target} ended the call before it was answered.", code="CANCELLED")


class AsyncPatience(Patience):
    """As its base, for coroutines."""

    async def pause(self, error: KdaifClientError, most_s: float = float("inf")) -> None:  # type: ignore[override]
        """Sleeps a little, at most ``most_s``, or raises ``error`` when the budget is spent."""
        await asyncio.sleep(self.pause_s(error, most_s))
