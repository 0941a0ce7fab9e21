"""The Lua scripts of ``lua/``, one per transition, run by their hash and loaded again when the server forgot them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, TypeAlias

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError

# A script, its keys and its arguments.
Call: TypeAlias = tuple[AsyncScript, list[str], list[str]]


class Scripts:
    """The scripts, bound to a connection pool."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
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
        self.submit_shards = _job_script(redis, "submit_shards")
        self.work_on_shards = _job_script(redis, "work_on_shards")
        self.touch = _register(redis, "clock", "touch")
        self.retire = _register(redis, "clock", "retire")
        self.now = _register(redis, "clock", "now")
        self.saved = _register(redis, "saved")
        self.expired = _register(redis, "clock", "expired")
        self.announce = _register(redis, "clock", "announce")
        self.set_mode = _register(redis, "set_mode")
        self.leave = _register(redis, "clock", "leave")
        self.report = _register(redis, "report")
        self.measure = _register(redis, "clock", "measure")

    async def in_turn(self, first: Call, second: Call) -> Any:
        """Runs two scripts, the second only after the first, and answers what the second does.

        Their keys may lie in two slots: then the nodes of a Cluster are asked one after the other, for it knows no
        order between them. One server is asked once.
        """
        if not isinstance(self._redis, RedisCluster):
            try:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for script, script_keys, arguments in (first, second):
                        pipeline.evalsha(script.sha, len(script_keys), *script_keys, *arguments)
                    return (await pipeline.execute())[1]
            except NoScriptError:
                pass
        await first[0](first[1], first[2])
        return await second[0](second[1], second[2])


def _job_script(redis: Redis, name: str) -> AsyncScript:
    return _register(redis, "clock", "job", name)


def _register(redis: Redis, *parts: str) -> AsyncScript:
    folder = files("kdaif.queue") / "lua"
    script: Any = redis.register_script("\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts))
    return script  # type: ignore[no-any-return]
