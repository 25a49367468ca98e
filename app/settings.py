"""What an operator can set, by environment (`SAGAN_*`) or by flag; read once, then frozen."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.api_keys import parse_api_keys

PREFIX = "SAGAN_"
CONFIGURATION_EXIT = 2  # the exit status that says: starting again will not help
REDIS_SCHEMES = ("redis", "rediss", "unix")
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
MAX_RATE = 1_000_000  # images in a period
HIDDEN = ("redis_url", "api_keys")  # values that no error repeats


class SettingsError(Exception):
    """A setting with a value it cannot have; the message names it, its value and the mend."""


class ModelSource(NamedTuple):
    """A checkpoint to serve: the name clients see (None: the checkpoint's own) and where it is."""

    name: str | None
    location: str | None  # a folder or a shipped name; None is the shipped default


class Rate(NamedTuple):
    """So many images in so many seconds."""

    num_images: int
    period_s: int


class Settings(BaseSettings):
    """Frozen; every field is `SAGAN_<FIELD>` in the environment, some are flags (app/cli.py)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True
    )

    redis_url: SecretStr | None = Field(None, description="redis://, rediss:// or unix:// URL")
    model: str = Field("", description="NAME=DIR, several separated by commas")
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["float32", "bf16", "auto"] = Field(
        "auto", description="auto: bf16 where the device has it and it is close to float32"
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    data_dir: Path | None = Field(None, description="where the private Redis keeps its data")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    otlp_endpoint: str | None = Field(
        None, pattern="^https?://", description="a collector's, such as http://localhost:4318"
    )

    workers: int | None = Field(None, ge=0, le=64, description="none: one per GPU, else one")
    worker_slot: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    worker_metrics_port: int | None = Field(None, ge=1, le=65535)

    api_keys: SecretStr | None = Field(None, description="NAME:SHA256HEX, several with commas")
    api_keys_file: Path | None = Field(None, description="the same, a line each; re-read on change")
    rate_limit: str = Field("", description="images a client: 100/minute; none: no limit")
    client_max_images: int | None = Field(None, ge=1, description="of one client at once")
    trusted_proxies: str = Field("", description="whose X-Forwarded-For counts; networks, commas")

    max_queue_images: int = Field(512, ge=1, le=1_000_000)
    max_bulk_images: int = Field(4096, ge=1, le=1_000_000)
    max_batch_images: int = Field(16, ge=1, le=1024)
    max_wait_ms: float = Field(0.0, ge=0, le=1000)
    default_timeout_ms: int = Field(30_000, ge=1)
    max_timeout_ms: int = Field(120_000, ge=1)
    max_launches: int = Field(3, ge=1, le=100)
    reply_max_bytes: int = Field(256_000, ge=1_000, le=64_000_000)

    heartbeat_s: float = Field(1.0, gt=0, le=30)
    claim_idle_s: float = Field(5.0, gt=0, le=600, description="silence after which jobs move on")
    reply_ttl_s: float = Field(60.0, ge=5, le=3600)
    retire_after_s: float = Field(300.0, ge=1)
    renderer_ttl_s: float = Field(30.0, ge=1)
    redis_timeout_s: float = Field(2.0, gt=0, le=60)
    watchdog_s: float = Field(60.0, gt=0, le=3600, description="the longest forward pass")
    drain_s: float = Field(25.0, ge=0, le=600)

    @field_validator("redis_url")
    @classmethod
    def _can_be_connected_to(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            parts = urlsplit(url.get_secret_value() if url else "redis:")
            _ = parts.port
        except ValueError:  # its message may have a part of a password
            raise ValueError("its port is not one; in a password, write : / ? # @ as %XX") from None
        if "sentinel" in parts.scheme:
            raise ValueError(
                "a Sentinel is not asked; give the redis:// address of a proxy, or a name, that "
                "leads to the master: what a failover loses is admitted again"
            )
        if parts.scheme not in REDIS_SCHEMES:
            raise ValueError("use a redis://, rediss:// or unix:// URL")
        return url

    @field_validator("model")
    @classmethod
    def _names_are_plain_and_unique(cls, text: str) -> str:
        names = [source.name for source in parse_models(text) if source.name is not None]
        if len(set(names)) < len(names):
            raise ValueError("give each model a name of its own")
        return text

    @field_validator("api_keys")
    @classmethod
    def _are_hashes_of_keys(cls, text: SecretStr | None) -> SecretStr | None:
        parse_api_keys(text.get_secret_value() if text else "")
        return text

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, text: str) -> str:
        parse_rate(text)
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        for network in filter(None, (part.strip() for part in text.split(","))):
            ip_network(network)
        return text

    @model_validator(mode="after")
    def _times_fit_together(self) -> Self:
        if self.default_timeout_ms > self.max_timeout_ms:
            raise ValueError(
                f"SAGAN_DEFAULT_TIMEOUT_MS={self.default_timeout_ms} is more than "
                f"SAGAN_MAX_TIMEOUT_MS={self.max_timeout_ms}: lower the one or raise the other"
            )
        if self.claim_idle_s < 3 * self.heartbeat_s:
            raise ValueError(
                f"SAGAN_CLAIM_IDLE_S={self.claim_idle_s:g} is less than three heartbeats of "
                f"SAGAN_HEARTBEAT_S={self.heartbeat_s:g}: a live worker would lose its jobs"
            )
        return self

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """The checkpoints to serve; at least one."""
        return parse_models(self.model)

    @property
    def rate(self) -> Rate | None:
        """How many images a client may have; None: as many as it likes."""
        return parse_rate(self.rate_limit)


def parse_models(text: str) -> tuple[ModelSource, ...]:
    """`"dogs=/checkpoints/a,b"` -> (("dogs", "/checkpoints/a"), (None, "b")); "" -> the default."""
    sources = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, location = part.partition("=")
        if not equals:
            sources.append(ModelSource(None, part))
        elif name and location and name.replace("-", "").replace("_", "").isalnum():
            sources.append(ModelSource(name, location))
        else:
            raise ValueError(f"{part!r} is not NAME=DIR with a name of letters, digits, - and _")
    return tuple(sources) or (ModelSource(None, None),)


def parse_rate(text: str) -> Rate | None:
    """`"100/minute"` -> Rate(100, 60); "" -> None."""
    if not text:
        return None
    number, _, period = (part.strip() for part in text.partition("/"))
    if period not in PERIODS_S or not number.isdecimal() or not 1 <= int(number) <= MAX_RATE:
        raise ValueError(f"write N/{'|'.join(PERIODS_S)} with N from 1 to {MAX_RATE:,}")
    return Rate(int(number), PERIODS_S[period])


def load_settings(**flags: object) -> Settings:
    """The settings of this process: flags first, then the environment, then the defaults.

    Raises SettingsError with one line for each bad value.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None


def as_environment(settings: Settings) -> dict[str, str]:
    """Environment variables from which `load_settings` makes these settings again."""
    environment = {}
    for field in settings.model_fields_set:
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            environment[f"{PREFIX}{field.upper()}"] = str(value)
    return environment


def require_redis_url(settings: Settings) -> str:
    """The URL of the Redis to use; raises SettingsError when none is set."""
    if settings.redis_url is None:
        raise SettingsError(
            "SAGAN_REDIS_URL is not set: give it the URL of a Redis, such as "
            "redis://localhost:6379, or run `sagan serve`, which brings one of its own"
        )
    return settings.redis_url.get_secret_value()


def _explain(problem: object) -> str:
    """`SAGAN_PORT='eighty' is not valid: ...`; the value of a URL with a password stays hidden."""
    assert isinstance(problem, dict)  # noqa: S101
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    value = "(hidden)" if field in HIDDEN else repr(problem["input"])
    return f"{PREFIX}{field.upper()}={value} is not valid: {message[0].lower()}{message[1:]}"
