"""The settings of a process, from flags and the environment (`SAGAN_*`); read once, then frozen."""

from __future__ import annotations

import logging
import os
import re
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.api_keys import parse_api_keys
from app.redis_url import check_redis_url

PREFIX = "SAGAN_"
CLIENT_KEY = f"{PREFIX}API_KEY"
CONFIGURATION_EXIT = 2  # the exit status for settings with which a restart would fail again
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
MAX_RATE = 1_000_000  # images a period
logger = logging.getLogger(__name__)
# What Kubernetes and Docker inject into every container beside a service that is called `sagan`,
# or `sagan-…`: SAGAN_PORT=tcp://10.0.0.1:80, SAGAN_SERVICE_HOST, SAGAN_REDIS_PORT_6379_TCP_ADDR, ….
LINK = re.compile(r"\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://")
HIDDEN = (
    "redis_url",
    "api_keys",
    "webhook_secret",
)  # no error message repeats these values


class SettingsError(Exception):
    """An invalid setting; the message has its name, its value and what to do."""


class ModelSource(NamedTuple):
    """A checkpoint to serve: the name for clients (None: the checkpoint's own) and its location."""

    name: str | None
    location: str | None  # a folder or a shipped name; None: the shipped default


class Rate(NamedTuple):
    """A number of images per period."""

    num_images: int
    period_s: int


_ORIGIN = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def listed(text: str) -> list[str]:
    """The parts of a list that is separated by commas."""
    return [part for part in (part.strip() for part in text.split(",")) if part]


class Settings(BaseSettings):
    """All settings. Each is `SAGAN_<FIELD>` in the environment; some are flags (app/cli.py)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        env_ignore_empty=True,
        protected_namespaces=("settings_",),  # older pydantic reserves "model_" too
    )

    unknown_settings: Literal["refuse", "warn"] = Field(
        "refuse", description="what happens if a SAGAN_* variable is not one"
    )
    redis_url: SecretStr | None = Field(
        None, description="redis://, rediss://, unix:// or redis+sentinel:// URL"
    )
    model: str = Field("", description="NAME=DIR, several separated by commas")
    models_dir: Path | None = Field(
        None, description="folder in which each subfolder that is a checkpoint is a model"
    )
    model_memory_mb: int | None = Field(
        None,
        ge=1,
        description="most memory in MiB for the weights of a worker's models; none: no bound",
    )
    model_aliases: str = Field(
        "", description="further names of models under /v1/: NAME=MODEL, several with commas"
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["float32", "bf16", "auto"] = Field(
        "auto", description="auto: bf16 if the device has it and it is close enough to float32"
    )
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    public_url: str = Field(
        "",
        pattern=r"^(https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?)?$",
        description="address under which clients know the API; empty: that of the request",
    )
    data_dir: Path | None = Field(None, description="where the private Redis stores its data")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    access_log: bool = Field(False, description="a line for each request")
    mark: bool = Field(True, description="image files say which image they are, and of which model")
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="address of a collector, such as http://localhost:4318",
    )

    workers: int | None = Field(None, ge=0, le=64, description="none: one per GPU, else one")
    worker_slot: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    worker_metrics_port: int | None = Field(None, ge=1, le=65535)

    api_keys: SecretStr | None = Field(
        None, description="NAME:SHA256HEX, several separated by commas"
    )
    api_keys_file: Path | None = Field(
        None, description="file of such entries, one per line; read again when it changes"
    )
    rate_limit: str = Field(
        "", description="images per client, such as 100/minute; empty: no limit"
    )
    client_max_images: int | None = Field(None, ge=1, description="images of a client in flight")
    trusted_proxies: str = Field(
        "", description="networks whose X-Forwarded-For is trusted, separated by commas"
    )

    cors_origins: str = Field(
        "", description="origins of web pages that may call the API, separated by commas; * for all"
    )

    max_connections: int = Field(1000, ge=1, description="further connections get 503")
    max_unsent_bytes: int = Field(
        128 * 1024 * 1024, ge=1_000_000, description="most bytes that clients leave unread"
    )
    max_queue_images: int = Field(512, ge=1, le=1_000_000)
    max_bulk_images: int = Field(4096, ge=1, le=1_000_000)
    max_jobs: int = Field(100, ge=1, le=1000, description="jobs that have not ended")
    job_max_bytes: int = Field(
        128 * 1024 * 1024, ge=1_000_000, description="files of all jobs that Redis keeps"
    )
    job_ttl_s: float = Field(
        86_400, ge=60, le=2_592_000, description="how long a job stays after its end"
    )
    webhook_hosts: str = Field(
        "",
        description="HOST or HOST:PORT that webhooks may call, http://HOST without TLS, separated "
        "by commas; empty: no webhooks",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="whsec_ and 24 to 64 bytes in Base64, which sign the webhooks"
    )
    max_batch_images: int = Field(16, ge=1, le=1024)
    max_wait_ms: float = Field(0.0, ge=0, le=1000)
    default_timeout_ms: int = Field(30_000, ge=1)
    max_timeout_ms: int = Field(120_000, ge=1)
    max_launches: int = Field(3, ge=1, le=100)
    reply_max_bytes: int = Field(256_000, ge=1_000, le=64_000_000)

    heartbeat_s: float = Field(1.0, gt=0, le=30)
    claim_idle_s: float = Field(
        5.0, gt=0, le=600, description="how long a silent worker keeps its jobs"
    )
    reply_ttl_s: float = Field(60.0, ge=5, le=3600)
    retire_after_s: float = Field(300.0, ge=1)
    renderer_ttl_s: float = Field(30.0, ge=1)
    redis_timeout_s: float = Field(2.0, gt=0, le=60)
    watchdog_s: float = Field(60.0, gt=0, le=3600, description="the longest forward pass")
    drain_s: float = Field(25.0, ge=0, le=600)

    @field_validator("redis_url")
    @classmethod
    def _can_be_connected_to(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            check_redis_url(url.get_secret_value())
        return url

    @field_validator("model")
    @classmethod
    def _names_are_plain_and_unique(cls, text: str) -> str:
        names = Counter(source.name for source in parse_models(text) if source.name is not None)
        for name, count in names.items():
            if count > 1:
                raise ValueError(
                    f"two models have the same name, {name!r}: give each a name of its own"
                )
        return text

    @field_validator("model_aliases")
    @classmethod
    def _are_aliases(cls, text: str) -> str:
        parse_aliases(text)
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

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        for origin in listed(text):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write https://HOST or https://HOST:PORT"
                )
        return text

    @field_validator("webhook_secret")
    @classmethod
    def _signs_webhooks(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            try:
                key = b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
            except ValueError:
                key = b""
            if not 24 <= len(key) <= 64:
                raise ValueError("write whsec_ and 24 to 64 random bytes in Base64")
        return secret

    @model_validator(mode="after")
    def _times_fit_together(self) -> Self:
        if self.default_timeout_ms > self.max_timeout_ms:
            raise ValueError(
                f"SAGAN_DEFAULT_TIMEOUT_MS={self.default_timeout_ms} is more than "
                f"SAGAN_MAX_TIMEOUT_MS={self.max_timeout_ms}: lower the one or raise the other"
            )
        if bool(self.webhook_hosts) != (self.webhook_secret is not None):
            raise ValueError("set both SAGAN_WEBHOOK_HOSTS and SAGAN_WEBHOOK_SECRET, or neither")
        if self.claim_idle_s < 3 * self.heartbeat_s:
            raise ValueError(
                f"SAGAN_CLAIM_IDLE_S={self.claim_idle_s:g} is less than three heartbeats of "
                f"SAGAN_HEARTBEAT_S={self.heartbeat_s:g}: a live worker would lose its jobs"
            )
        return self

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """The checkpoints to serve beside those of `models_dir`; without that, at least one."""
        if self.models_dir is not None and not self.model.strip(" ,"):
            return ()
        return parse_models(self.model)

    @property
    def model_memory_bytes(self) -> int | None:
        """The bound of the memory that models take; None when there is no bound."""
        return None if self.model_memory_mb is None else self.model_memory_mb * 2**20

    @property
    def aliases(self) -> dict[str, str]:
        """The model of each alias."""
        return parse_aliases(self.model_aliases)

    @property
    def rate(self) -> Rate | None:
        """The rate limit of a client; None when there is no limit."""
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


def parse_aliases(text: str) -> dict[str, str]:
    """`"dall-e-3=dogs, gpt-image-1=dogs"` -> {"dall-e-3": "dogs", "gpt-image-1": "dogs"}."""
    aliases: dict[str, str] = {}
    for part in listed(text):
        alias, equals, model = (piece.strip() for piece in part.partition("="))
        if not (alias and equals and model) or "=" in model:
            raise ValueError(f"{part!r} is not NAME=MODEL")
        if alias in aliases:
            raise ValueError(f"{alias!r} is given twice: give each alias one model")
        aliases[alias] = model
    return aliases


def parse_rate(text: str) -> Rate | None:
    """`"100/minute"` -> Rate(100, 60); "" -> None."""
    if not text:
        return None
    number, _, period = (part.strip() for part in text.partition("/"))
    if period not in PERIODS_S or not number.isdecimal() or not 1 <= int(number) <= MAX_RATE:
        raise ValueError(f"write N/{'|'.join(PERIODS_S)} with N from 1 to {MAX_RATE:,}")
    return Rate(int(number), PERIODS_S[period])


def load_settings(**flags: object) -> Settings:
    """The settings of this process: flags come first, then the environment, then the defaults.

    Raises SettingsError with a line for each invalid value, and for each variable that is called
    SAGAN_… and is no setting.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    linked = [field for field in map(_field_of, service_links(os.environ)) if field]
    try:
        settings = Settings(**(_defaults(linked) | given))  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(map(_explain, error.errors()))) from None
    if unknown := unknown_variables(os.environ):
        told = "\n".join(map(_explain_unknown, unknown))
        if settings.unknown_settings == "refuse":
            raise SettingsError(told)
        logger.warning("%s", told)
    return settings


def refuse(error: BaseException) -> int:
    """Prints why a process cannot start, as click prints errors; returns CONFIGURATION_EXIT."""
    sys.stderr.write(f"Error: {error}\n")
    return CONFIGURATION_EXIT


def service_links(environment: Mapping[str, str]) -> list[str]:
    """The variables that look like ours and describe a Kubernetes Service or a linked container."""
    return [
        name
        for name, value in environment.items()
        if name.startswith(PREFIX)
        and (LINK.fullmatch(name.removeprefix(PREFIX[:-1])) or _is_link_address(name, value))
        and (_field_of(name) is None or LINK_ADDRESS.match(value))
    ]


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The variables that begin like settings but are not settings, sorted."""
    ours = [name for name in environment if name.upper().startswith(PREFIX)]
    links = service_links(environment)
    return sorted(name for name in ours if _field_of(name) is None and name not in links)


def as_environment(settings: Settings) -> dict[str, str]:
    """The environment variables from which `load_settings` makes equal settings."""
    environment = {}
    for field in settings.model_fields_set:
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            environment[f"{PREFIX}{field.upper()}"] = str(value)
    return environment


def _is_link_address(name: str, value: str) -> bool:
    return name.endswith("_PORT") and LINK_ADDRESS.match(value) is not None


def _field_of(variable: str) -> str | None:
    """The setting that this environment variable sets, in whatever case it is written."""
    field = variable.lower().removeprefix(PREFIX.lower())
    return field if field in Settings.model_fields else None


def _defaults(names: Iterable[str]) -> dict[str, object]:
    return {name: Settings.model_fields[name].default for name in names}


def _explain_unknown(variable: str) -> str:
    """`SAGAN_APIKEYS is not a setting; did you mean SAGAN_API_KEYS? …`, without its value."""
    if variable.upper() == CLIENT_KEY:  # refused too: a server that was given it would ask no key
        return (
            f"{CLIENT_KEY} is not a setting of servers, but the key that clients send (sagan "
            f"verify, models, mcp); did you mean {PREFIX}API_KEYS? Else unset it for this process"
        )
    names = {field.replace("_", ""): field for field in Settings.model_fields}
    asked = variable.upper().removeprefix(PREFIX).lower().replace("_", "")
    close = [names[match] for match in get_close_matches(asked, names, 1, cutoff=0.6)]
    likely = f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
    return (
        f"{variable} is not a setting{likely or ';'} correct or unset it "
        f"(docs/serving.md lists all; {PREFIX}UNKNOWN_SETTINGS=warn makes this a warning)"
    )


def require_redis_url(settings: Settings) -> str:
    """The URL of Redis; raises SettingsError when none is set."""
    if settings.redis_url is None:
        raise SettingsError(
            "SAGAN_REDIS_URL is not set: set it to the URL of a Redis, such as "
            "redis://localhost:6379, or run `sagan serve`, which starts a private Redis"
        )
    return settings.redis_url.get_secret_value()


def _explain(problem: object) -> str:
    """`SAGAN_PORT='eighty' is not valid: ...`; values that may contain a secret are hidden."""
    assert isinstance(problem, dict)  # noqa: S101
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    value = "(hidden)" if field in HIDDEN else repr(problem["input"])
    return f"{PREFIX}{field.upper()}={value} is not valid: {message[0].lower()}{message[1:]}"
