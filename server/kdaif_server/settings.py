"""Settings of the server, from the environment (``KDAIF_...``) or the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kdaif.datasets import MOST_BYTES
from kdaif.errors import InvalidInputError
from kdaif.store import AllowedBuckets, AllowedRoots, References, UploadLimits
from kdaif.telemetry import LogFormat, LogLevel
from kdaif_server.access.issuer import Issuer
from kdaif_server.access.limits import CallLimits
from kdaif_server.dashboard.address import Address


class ServerSettings(BaseSettings):
    """Everything the server can be told. ``data_dir`` holds what is local: spool, cache and, by default, the blobs.

    ``most_table_bytes`` bounds the numbers of one table, which a worker keeps on its disk. ``dashboard`` is HOST:PORT,
    or empty or "off" for none; with ``dashboard_or_free`` a port that is taken is replaced by a free one.

    ``metrics`` is HOST:PORT of the page for Prometheus, empty for none; ``worker_metrics`` that of the worker of
    ``kdaif up``. ``health`` is HOST:PORT where gRPC's health service, and nothing else, answers without TLS.
    ``otlp_endpoint`` is the collector's HTTP address for traces, empty for none. A job that has waited for
    ``unserved_after_s`` while no worker may run it makes ``kdaif.queue`` NOT_SERVING.

    ``authentication`` is asked for by ``kdaif-server serve`` and off for ``up`` where nothing is said. ``plaintext``
    says that something in front ends TLS. The limits of a tenant are of each server; ``docs/security.md`` has the rest.

    ``processes`` is how many ``kdaif-server serve`` starts behind its port, about one for each core that it may use.
    The limits of a tenant are of each of them; each has a page of metrics, at the next port, and a part of the cache
    (``cache_folder``, by default below ``data_dir``) for itself.
    """

    model_config = SettingsConfigDict(env_prefix="KDAIF_", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65_535)
    processes: int = Field(default=1, ge=1, le=256)
    redis_url: str = "redis://127.0.0.1:6379/0"
    data_dir: Path = Path("~/.kdaif")
    cache_folder: Path | None = None
    store_url: str | None = None
    lease_ttl_s: float = Field(default=60.0, gt=0.0)
    retry_delay_s: float = Field(default=2.0, ge=0.0)
    require_durable_redis: bool = True
    tenant_quota_bytes: int | None = Field(default=None, ge=1)
    disk_reserve_bytes: int = Field(default=256 << 20, ge=0)
    keep_finished_days: float | None = Field(default=None, gt=0.0)
    keep_unfinished_uploads_days: float = Field(default=7.0, gt=0.0)
    sweep_every_s: float = Field(default=3600.0, gt=0.0)
    archive_every_s: float = Field(default=1.0, gt=0.0)
    min_client_ping_s: float = Field(default=5.0, gt=0.0)
    reflection: bool = False
    dashboard: str = ""
    dashboard_or_free: bool = False
    drain_s: float = Field(default=10.0, ge=0.0)
    allowed_roots: Annotated[AllowedRoots, NoDecode] = ()
    allowed_buckets: Annotated[AllowedBuckets, NoDecode] = ()
    s3_endpoint: str = ""
    most_table_bytes: int = Field(default=MOST_BYTES, gt=0)
    log_format: LogFormat = LogFormat.CONSOLE
    log_level: LogLevel = LogLevel.INFO
    metrics: str = ""
    worker_metrics: str = ""
    health: str = ""
    otlp_endpoint: str = ""
    look_every_s: float = Field(default=5.0, gt=0.0)
    unserved_after_s: float = Field(default=300.0, gt=0.0)

    authentication: Literal["on", "off"] | None = None
    keys_file: Path | None = None
    signing_key_file: Path | None = None
    jwt_jwks: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_tenant_claim: str = Field(default="tenant", min_length=1)
    jwt_scope_claim: str = Field(default="scope", min_length=1)
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_client_ca_file: Path | None = None
    plaintext: bool = False
    tenant_calls_per_s: float | None = Field(default=None, gt=0.0)
    tenant_burst_calls: int | None = Field(default=None, ge=1)
    tenant_open_streams: int | None = Field(default=None, ge=1)

    @property
    def root(self) -> Path:
        """``data_dir``, absolute."""
        return self.data_dir.expanduser().resolve()

    @property
    def blob_url(self) -> str:
        """Where the blobs are: ``store_url``, or a folder below ``data_dir``."""
        return self.store_url or f"file://{self.root / 'blobs'}"

    @property
    def local_store(self) -> dict[str, Path]:
        """The blobs' folder by the name "blobs", where they are on a disk of this machine."""
        scheme, _, rest = self.blob_url.partition("://")
        return {"blobs": Path(rest)} if scheme == "file" else {}

    @property
    def spool_dir(self) -> Path:
        """Uploads that are not finished yet."""
        return self.root / "spool"

    @property
    def cache_dir(self) -> Path:
        """Local copies of blobs; may be deleted at any time."""
        return (self.cache_folder or self.root / "cache").expanduser()

    @property
    def dashboard_address(self) -> Address | None:
        """Where the dashboard listens; None for no dashboard. Raises InvalidInputError."""
        return None if self.dashboard in ("", "off") else Address.parse(self.dashboard)

    @property
    def upload_limits(self) -> UploadLimits:
        """What uploads may take."""
        return UploadLimits(self.tenant_quota_bytes, self.disk_reserve_bytes)

    @property
    def references(self) -> References:
        """What data sets may name instead of being uploaded. Workers need the same."""
        return References(self.allowed_roots, self.allowed_buckets, self.s3_endpoint)

    @property
    def key_file(self) -> Path:
        """Where the API keys are kept."""
        return (self.keys_file or self.root / "access" / "keys.json").expanduser()

    @property
    def signing_key(self) -> Path:
        """The private key that signs students, in PEM."""
        return (self.signing_key_file or self.root / "access" / "signing_key.pem").expanduser()

    @property
    def jwt(self) -> Issuer | None:
        """Whose tokens are believed; None for nobody's. Raises InvalidInputError."""
        given = (self.jwt_jwks, self.jwt_issuer, self.jwt_audience)
        if not any(given):
            return None
        if not all(given):
            raise InvalidInputError.of("jwt_jwks", "goes with jwt_issuer and jwt_audience; give all three, or none")
        return Issuer(*given, self.jwt_tenant_claim, self.jwt_scope_claim)

    def of_process(self, number: int) -> ServerSettings:
        """For one of several processes behind one port: what two of them cannot share is the first one's alone."""
        if number == 0:
            return self
        host, colon, port = self.metrics.rpartition(":")
        shifted = f"{host}{colon}{int(port) + number}" if port.isdecimal() and int(port) else self.metrics
        cache = self.cache_dir / f"process-{number}"
        return self.model_copy(update={"dashboard": "", "metrics": shifted, "cache_folder": cache})

    @property
    def call_limits(self) -> CallLimits:
        """How much a tenant may call."""
        return CallLimits(self.tenant_calls_per_s, self.tenant_burst_calls, self.tenant_open_streams)
