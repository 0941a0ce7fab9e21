"""The Lua scripts of ``lua/``, one per transition, run by their hash, or where the server forgot them by their text."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from kdaif.queue.connection import pool_of
from kdaif.queue.kept_connection import KeptConnection


class Script:
    """A script on its server, or on the node of a Cluster that has its keys."""

    def __init__(self, ask: Callable[..., Awaitable[Any]], text: str) -> None:
        self._ask = ask
        self._text, self._hash = text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, script_keys: Sequence[str], arguments: Sequence[str] = ()) -> Any:
        """What it answers. Raises what redis-py raises. It may be run twice, when the first answer was lost."""
        given = (len(script_keys), *script_keys, *arguments)
        try:
            return await self._ask("EVALSHA", self._hash, *given)
        except NoScriptError:
            # Loaded and run in one step: between two, the server may forget it, or another may have taken its place.
            return await self._ask("EVAL", self._text, *given)


class Scripts:
    """The scripts, bound to a connection pool."""

    def __init__(self, redis: Redis) -> None:
        pool = pool_of(redis)
        self._ask = redis.execute_command if pool is None else KeptConnection(pool).ask
        self.submit = self._of("clock", "busy", "job", "submit")
        self.claim = self._of_job("claim")
        self.renew = self._of_job("renew")
        self.publish = self._of_job("publish")
        self.succeed = self._of_job("succeed")
        self.fail = self._of_job("fail")
        self.cancel = self._of_job("cancel")
        self.retry = self._of_job("retry")
        self.await_review = self._of_job("await_review")
        self.resume = self._of_job("resume")
        self.reject = self._of_job("reject")
        self.give_back = self._of_job("give_back")
        self.expire = self._of_job("expire")
        self.reap = self._of_job("reap")
        self.delete = self._of_job("delete")
        self.restore = self._of_job("restore")
        self.submit_shards = self._of_job("submit_shards")
        self.work_on_shards = self._of_job("work_on_shards")
        self.touch = self._of("clock", "busy", "touch")
        self.retire = self._of("clock", "retire")
        self.now = self._of("clock", "now")
        self.saved = self._of("saved")
        self.expired = self._of("clock", "expired")
        self.announce = self._of("clock", "announce")
        self.set_mode = self._of("set_mode")
        self.leave = self._of("clock", "leave")
        self.report = self._of("report")
        self.measure = self._of("clock", "measure")

    def _of_job(self, name: str) -> Script:
        return self._of("clock", "job", name)

    def _of(self, *parts: str) -> Script:
        folder = files("kdaif.queue") / "lua"
        text = "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)
        return Script(self._ask, text)
