"""The Lua scripts of ``lua/``, one per transition, run by their hash and loaded again when the server forgot them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


class Scripts:
    """The scripts, bound to a connection pool."""

    def __init__(self, redis: Redis) -> None:
        self.submit = _job_script(redis, "submit")
        self.claim = _job_script(redis, "claim")
        self.renew = _job_script(redis, "renew")
        self.publish = _job_script(redis, "publish")
        self.succeed = _job_script(redis, "succeed")
        self.fail = _job_script(redis, "fail")
        self.cancel = _job_script(redis, "cancel")
        self.retry = _job_script(redis, "retry")
        self.await_review = _job_script(redis, "await_review")
        self.resume = _job_script(redis, "resume")
        self.reject = _job_script(redis, "reject")
        self.give_back = _job_script(redis, "give_back")
        self.expire = _job_script(redis, "expire")
        self.reap = _job_script(redis, "reap")
        self.delete = _job_script(redis, "delete")
        self.restore = _job_script(redis, "restore")
        self.touch = _register(redis, "clock", "touch")
        self.retire = _register(redis, "clock", "retire")
        self.now = _register(redis, "clock", "now")
        self.saved = _register(redis, "saved")
        self.waiting = _register(redis, "clock", "waiting")
        self.expired = _register(redis, "clock", "expired")
        self.announce = _register(redis, "clock", "announce")
        self.set_mode = _register(redis, "set_mode")
        self.leave = _register(redis, "clock", "leave")
        self.report = _register(redis, "report")
        self.measure = _register(redis, "clock", "measure")


def _job_script(redis: Redis, name: str) -> AsyncScript:
    return _register(redis, "clock", "job", name)


def _register(redis: Redis, *parts: str) -> AsyncScript:
    folder = files("kdaif.queue") / "lua"
    script: Any = redis.register_script("\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts))
    return script  # type: ignore[no-any-return]
