"""Places for data sets by reference reach the server, and the worker beside it, by environment and option alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from kdaif_server.embedded.stack import worker_places
from kdaif_server.settings import ServerSettings
from kdaif_worker.settings import WorkerSettings
from pydantic import ValidationError

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
    monkeypatch.setenv("KDAIF_ALLOWED_ROOTS", "~/data, /srv/b ,")
    monkeypatch.setenv("KDAIF_ALLOWED_BUCKETS", "s3://one, s3://two/open")
    assert settings().references.allowed_roots == (Path.home() / "data", Path("/srv/b"))
    assert settings().references.allowed_buckets == ("s3://one", "s3://two/open")
    monkeypatch.setenv("KDAIF_ALLOWED_ROOTS", "")
    assert settings().references.allowed_roots == ()


@pytest.mark.parametrize("settings", [ServerSettings, WorkerSettings])
def test_a_folder_that_depends_on_where_one_stands_is_refused(
    settings: type[ServerSettings | WorkerSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDAIF_ALLOWED_ROOTS", "/srv,data")
    with pytest.raises(ValidationError, match="data is no absolute folder"):
        settings()


def test_the_worker_beside_the_server_is_told_the_same_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `kdaif up`, by environment: a comma in a name is no separator."""
    given = ServerSettings(allowed_roots=["/srv/a, b", "~/[c]"], allowed_buckets=["s3://one/a,b"])  # type: ignore[arg-type]
    for name, value in worker_places(given).items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings().references == given.references
    assert given.references.allowed_roots == (Path("/srv/a, b"), Path.home() / "[c]")
