"""Places for data sets by reference reach the server, and the worker beside it, by environment and option alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from kdaif_server.settings import ServerSettings
from kdaif_worker.settings import WorkerSettings

from kdaif.store import References


@pytest.mark.parametrize("settings", [ServerSettings, WorkerSettings])
def test_places_come_from_the_environment(
    settings: type[ServerSettings | WorkerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings().references == References()
    monkeypatch.setenv("KDAIF_ALLOWED_ROOTS", "/data/a,/data/b c")
    monkeypatch.setenv("KDAIF_ALLOWED_BUCKETS", "s3://one,s3://two/open")
    monkeypatch.setenv("KDAIF_S3_ENDPOINT", "http://127.0.0.1:9000")
    assert settings().references == References(
        (Path("/data/a"), Path("/data/b c")), ("s3://one", "s3://two/open"), "http://127.0.0.1:9000"
    )
    monkeypatch.setenv("KDAIF_ALLOWED_ROOTS", "")
    assert settings().references.allowed_roots == ()
