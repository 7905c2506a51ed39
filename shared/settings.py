"""Every setting of the farm, and the only module that reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.networks import IPvAnyNetwork
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .address import Address

MarkerMode = Literal["ccr", "marker-free"]
PoolName = Literal["cpu", "gpu"]
POOLS: tuple[PoolName, ...] = get_args(PoolName)

_HOST = r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]"
Origin = Annotated[str, Field(pattern=rf"^https?://({_HOST})(:[0-9]{{1,5}})?$")]
"""``scheme://host[:port]`` only, as browsers send it; no wildcard."""
Ancestor = Annotated[
    str, Field(pattern=rf"^('self'|(https?://)?(\*\.)?({_HOST})(:([0-9]{{1,5}}|\*))?)$")
]
"""A source of CSP's ``frame-ancestors``: an origin, a host, ``*.host`` or ``'self'``."""


Target = Annotated[str, Field(pattern=rf"^https?://({_HOST})(:[0-9]{{1,5}})?(/[!-~]*)?$")]
"""A provider's address: ``https://host[:port][/path]``."""


def _also(name: str, field: str) -> AliasChoices:
    """Also accept headroom's own name for a setting, which has no prefix."""
    return AliasChoices(name, f"HEADROOM_{name}", field)


class Settings(BaseSettings):
    """The farm's settings, frozen, read from ``HEADROOM_*`` variables.

    Times are seconds and sizes bytes unless the name says otherwise. A wrong value
    raises ``pydantic.ValidationError`` at start, naming the variable. An empty value is the same
    as none: the setting has its default.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEADROOM_",
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    # Addresses and directories.
    redis_url: str = Field("redis://127.0.0.1:6390/0", repr=False)
    state_url: str | None = Field(None, repr=False)
    host: str = "127.0.0.1"
    port: int = Field(8788, ge=0, le=65535)
    data_dir: Path = Path(".data")

    # Authentication (see api/http/auth.py).
    tokens_file: Path | None = None
    trusted_peers: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()

    # Which conversations are compressed, and how (see shared/policy).
    policy_file: Path | None = None

    # Browsers: origins that may read answers, frame the dashboard, and be read by it.
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = ()
    frame_ancestors: Annotated[tuple[Ancestor, ...], NoDecode] = ()
    dashboard_origins: Annotated[tuple[Origin, ...], NoDecode] = ()

    # Numbers of processes (for `headroom-farm up`; elsewhere replicas decide).
    api_processes: int = Field(1, ge=1, le=64)
    cpu_workers: int = Field(1, ge=0, le=256)
    gpu_workers: int = Field(1, ge=0, le=64)

    # The request.
    deadline_ms: int = Field(8000, ge=10, le=600_000)
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024)
    bodies_bytes: int = Field(512 * 1024 * 1024, ge=1024 * 1024)
    max_connections: int = Field(10_000, ge=1)
    read_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    drain_seconds: float = Field(0.0, ge=0, le=600)
    marker_mode: MarkerMode = "ccr"

    # The transparent proxy (api/proxy): the providers, and how they are reached.
    anthropic_target_api_url: Target | None = Field(
        None, validation_alias=_also("ANTHROPIC_TARGET_API_URL", "anthropic_target_api_url")
    )
    openai_target_api_url: Target | None = Field(
        None, validation_alias=_also("OPENAI_TARGET_API_URL", "openai_target_api_url")
    )
    tighten_tools: bool = True
    upstream_proxy: str | None = Field(None, repr=False, pattern="^https?://")
    upstream_ca_file: Path | None = None
    upstream_connect_seconds: float = Field(5.0, gt=0, le=600)
    upstream_idle_seconds: float = Field(600.0, gt=0, le=86_400)
    stream_drain_seconds: float = Field(300.0, ge=0, le=3600)
    code_aware: bool = False
    fold_reads: bool = False
    ratio: Literal["saved", "kept"] = "saved"
    turn_ttl_seconds: int = Field(600, ge=1, le=86_400)
    turn_max_bytes: int = Field(8 * 1024 * 1024, ge=1024)

    # Feedback: an engine pauses on a tool if this share of at least this many outputs is asked for.
    feedback_rate: float = Field(0.3, ge=0, le=1)
    feedback_sample: int = Field(1000, ge=1)
    feedback_pause_seconds: int = Field(86_400, ge=1, le=30 * 86_400)

    # State in Redis.
    session_ttl: int = Field(7200, ge=1)
    max_cache_entries: int = Field(10_000, ge=1)
    max_user_sessions: int = Field(10_000, ge=1)
    ccr_ttl_seconds: int = Field(7200, ge=1)

    # The front end's session memory, over all users.
    memo_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024)

    # Queues and workers.
    queue_max_blocks: int = Field(1024, ge=1)
    queue_max_bytes: int = Field(32 * 1024 * 1024, ge=1024)
    job_max_bytes: int = Field(64 * 1024, ge=1024)
    job_max_blocks: int = Field(8, ge=1)
    engine_timeout_seconds: int = Field(10, ge=1)
    worker_heartbeat_seconds: float = Field(0.5, gt=0)
    lease_seconds: float = Field(1.5, ge=0.1)

    # The ledger.
    books_days: int = Field(400, ge=1, le=4000)
    books_max_users: int = Field(1000, ge=1)
    books_max_models: int = Field(200, ge=1)
    books_buffer_bytes: int = Field(64 * 1024 * 1024, ge=64 * 1024)

    # Prices: the metering team's Postgres, read only.
    pricing_dsn: SecretStr | None = None
    pricing_pg_host: str | None = None
    pricing_pg_port: int = Field(5432, ge=1, le=65535)
    pricing_pg_db: str | None = None
    pricing_pg_user: str | None = None
    pricing_pg_password: SecretStr | None = None
    pricing_refresh_seconds: float = Field(300.0, gt=0)
    pricing_timeout_ms: int = Field(2000, ge=1)
    cost_per_mtok: Decimal = Field(Decimal("15"), ge=0, max_digits=10, decimal_places=4)
    # The text engine.
    text_engine: Literal["kompress", "text_crusher"] = "kompress"
    model_dir: Path | None = None
    engine_threads: int = Field(0, ge=0, le=256)
    batch_tokens: int = Field(16_384, ge=512)
    batch_max_jobs: int = Field(64, ge=1)

    # Redis connections.
    redis_connect_timeout: float = Field(0.5, gt=0)
    redis_timeout: float = Field(2.0, gt=0)
    redis_retry_seconds: float = Field(1.0, gt=0)
    redis_password_file: Path | None = None
    state_password_file: Path | None = None
    redis_ca_file: Path | None = None
    redis_cert_file: Path | None = None
    redis_key_file: Path | None = None
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None

    # Logs and traces.
    otel_endpoint: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Also let an empty option be unset, as ``env_ignore_empty`` does for a variable."""
        return {name: value for name, value in given.items() if value != ""}

    @field_validator(
        "trusted_peers", "cors_origins", "frame_ancestors", "dashboard_origins", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, value: str) -> str:
        """Accept an IPv6 address as in a URL."""
        return value.removeprefix("[").removesuffix("]")

    @field_validator("redis_url", "state_url")
    @classmethod
    def _check_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        address = Address.parse(value) if value else None
        if address and address.kind == "cluster" and info.field_name == "redis_url":
            raise ValueError("RQ cannot use a Cluster; HEADROOM_STATE_URL may name one")
        return value

    @property
    def redis_address(self) -> Address:
        """The Redis of queues, replies and usage records."""
        return Address.parse(self.redis_url)

    @property
    def state_address(self) -> Address:
        """The Redis of users' state."""
        return Address.parse(self.state_url or self.redis_url)

    @property
    def state_credentials(self) -> Path | None:
        """The password file of the Redis of users' state."""
        return self.state_password_file if self.state_url else self.redis_password_file

    @property
    def proxies(self) -> bool:
        """Whether the transparent proxy is enabled."""
        return bool(self.anthropic_target_api_url or self.openai_target_api_url)

    @property
    def request_seconds(self) -> float:
        """Longest time a draining process waits for a request: its deadline or a stream's."""
        deadline = self.deadline_ms / 1000
        return max(deadline, self.stream_drain_seconds) if self.proxies else deadline

    @property
    def original_ttl(self) -> int:
        """TTL of an original in seconds: a quarter longer than promised, so that it need not be
        renewed by every answer but only once per quarter."""
        return self.ccr_ttl_seconds * 5 // 4


def variables(field: str) -> list[str]:
    """Return the environment variables of a setting; the first that is not empty counts."""
    alias = Settings.model_fields[field].validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [f"HEADROOM_{field}"]
    return list(dict.fromkeys(str(name).upper() for name in names))


def overridden(environment: Mapping[str, str], field: str, value: object) -> dict[str, str]:
    """Return a copy of the environment in which a setting has this value.

    All variables of the setting are replaced, because one with two names would otherwise keep the
    value of the name that takes precedence. They are matched regardless of case, as they are read.
    """
    names = variables(field)
    kept = {name: given for name, given in environment.items() if name.upper() not in names}
    return kept if value is None else {**kept, names[0]: str(value)}


@cache
def load_settings() -> Settings:
    """Return this process's settings, read from the environment once."""
    return Settings()  # type: ignore[call-arg, unused-ignore]
