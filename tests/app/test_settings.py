"""Settings: where they come from and what a wrong one says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.settings import (
    PREFIX,
    ModelSource,
    Settings,
    SettingsError,
    as_environment,
    load_settings,
    require_redis_url,
)

URL = "redis://user:hunter2@db:6379/1"
HANDBOOK = Path(__file__).parents[2] / "docs" / "serving.md"


def test_flags_beat_the_environment_and_the_environment_beats_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A flag that was not given is None and does not count."""
    monkeypatch.setenv("SAGAN_PORT", "9000")
    monkeypatch.setenv("SAGAN_MAX_WAIT_MS", "0.5")
    settings = load_settings(port=9001, host=None)
    assert (settings.port, settings.max_wait_ms, settings.host) == (9001, 0.5, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("SAGAN_PORT", "eighty", "integer"),
        ("SAGAN_PORT", "70000", "less than or equal to 65535"),
        ("SAGAN_DEVICE", "gpu", "'auto', 'cuda', 'mps' or 'cpu'"),
        ("SAGAN_MODEL", "=x", "NAME=DIR"),
        ("SAGAN_MODEL", "a=x,a=y", "the same name, 'a'"),
        ("SAGAN_MODEL_MEMORY_MB", "0", "greater than or equal to 1"),
        ("SAGAN_REPLY_TTL_S", "1", "greater than or equal to 5"),
        ("SAGAN_MAX_BATCH_IMAGES", "0", "greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_one_line_with_name_value_and_mend(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, mend: str
) -> None:
    """Nobody has to read a traceback."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings()
    message = str(error.value)
    assert message.startswith(f"{name}={value!r} is not valid: ")
    assert mend in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("SAGAN_RATELIMIT", "SAGAN_RATE_LIMIT"),
        ("SAGAN_APIKEYS", "SAGAN_API_KEYS"),
        ("SAGAN_API_KEY", "SAGAN_API_KEYS"),
        ("SAGAN_MODELS", "SAGAN_MODEL"),
        ("SAGAN_REDIS_URI", "SAGAN_REDIS_URL"),
        ("sagan_ratelimit", "SAGAN_RATE_LIMIT"),
        ("SAGAN_TRUSTED_PROXY", "SAGAN_TRUSTED_PROXIES"),
        ("SAGAN_REDIS_PORT", None),
        ("SAGAN_XYZZY", None),
    ],
)
def test_a_misspelt_setting_ends_the_start_with_the_likely_name(
    monkeypatch: pytest.MonkeyPatch, name: str, likely: str | None
) -> None:
    """A limit or a key that is not there because of a letter is worse than no start."""
    monkeypatch.setenv(name, "5/minute")
    with pytest.raises(SettingsError, match=f"{name} is not a setting") as error:
        load_settings()
    assert "5/minute" not in str(error.value)  # it may be a key
    assert "\n" not in str(error.value)
    if likely:
        assert f"did you mean {likely}?" in str(error.value)


def test_a_misspelt_setting_can_be_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By flag or by variable, for example for settings of another version."""
    monkeypatch.setenv("SAGAN_RATELIMIT", "5/minute")
    assert load_settings(unknown_settings="warn").rate is None
    monkeypatch.setenv("SAGAN_UNKNOWN_SETTINGS", "warn")
    load_settings()
    assert caplog.text.count("did you mean SAGAN_RATE_LIMIT?") == 2


@pytest.mark.parametrize("service", ["SAGAN", "SAGAN_REDIS", "SAGAN_WORKER_METRICS", "SAGAN_API"])
def test_what_kubernetes_injects_for_a_service_of_our_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    """SAGAN_PORT and SAGAN_WORKER_METRICS_PORT are settings, and addresses there are not."""
    for name, value in {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "80",
        "SERVICE_PORT_HTTP": "80",
        "PORT": "tcp://10.0.0.1:80",
        "PORT_80_TCP": "tcp://10.0.0.1:80",
        "PORT_80_TCP_PROTO": "tcp",
        "PORT_80_TCP_PORT": "80",
        "PORT_80_TCP_ADDR": "10.0.0.1",
    }.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    settings = load_settings()
    assert (settings.port, settings.worker_metrics_port) == (8000, None)
    assert load_settings(port=81).port == 81


def test_times_that_do_not_fit_together_are_refused() -> None:
    """A worker whose heartbeat is slower than the claim time would lose its jobs."""
    with pytest.raises(SettingsError, match="SAGAN_CLAIM_IDLE_S=1 is less than three heartbeats"):
        load_settings(claim_idle_s=1.0)
    with pytest.raises(SettingsError, match="lower the one or raise the other"):
        load_settings(max_timeout_ms=10)


def test_the_password_of_redis_is_never_shown() -> None:
    """Not in the settings' text, nor in an error about them."""
    settings = load_settings(redis_url=URL)
    assert "hunter2" not in repr(settings)
    assert require_redis_url(settings) == URL
    with pytest.raises(SettingsError) as error:
        load_settings(redis_url="http://user:hunter2@db")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("url", ["redis://h:abc", "redis://u:hunter2#1@h:6379", "redis://h:70000"])
def test_a_port_of_redis_that_is_none_is_told_without_the_url(url: str) -> None:
    """What stands where a port should may be part of a password."""
    with pytest.raises(SettingsError, match=r"SAGAN_REDIS_URL=.hidden. .*port") as error:
        load_settings(redis_url=url)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_process_without_redis_says_what_to_do() -> None:
    """Only `sagan serve` brings one."""
    with pytest.raises(SettingsError, match="sagan serve"):
        require_redis_url(load_settings())


def test_several_models_have_names_and_places() -> None:
    """None is the shipped default."""
    assert load_settings().models == (ModelSource(None, None),)
    assert load_settings(model="dogs=/a/b, cats").models == (
        ModelSource("dogs", "/a/b"),
        ModelSource(None, "cats"),
    )


def test_a_child_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through its environment, the password included."""
    settings = load_settings(redis_url=URL, port=81, model="a=b", max_wait_ms=1.5)
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:secret@host:26379",
        "redis+sentinel://:secret@/mymaster",
        "redis+sentinel://:secret@host:port/mymaster",
        "redis+sentinel://:secret@host/mymaster/one",
        "redis+sentinel://:secret@host/mymaster?retries=3",
        "sentinel://:secret@host/mymaster",
    ],
)
def test_a_sentinel_url_that_cannot_be_used_is_refused_with_the_form(url: str) -> None:
    """In one line, without the password."""
    with pytest.raises(SettingsError, match=r"SAGAN_REDIS_URL=.hidden. is not valid") as error:
        load_settings(redis_url=url)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_handbook_has_every_setting_with_its_default() -> None:
    """And none that there is not."""
    told: dict[str, str] = {}
    for names, defaults in re.findall(
        r"^\| (`SAGAN_[^|]*) \| ([^|]*) \|", HANDBOOK.read_text(), re.MULTILINE
    ):
        listed = re.findall(r"`sagan_(\w+)`", names.lower())
        each = defaults.split(", ")
        if len(each) != len(listed):  # one for all of them
            each = [defaults] * len(listed)
        told |= zip(listed, each, strict=True)
    assert set(told) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float):
            assert float(told[name]) == field.default, f"{PREFIX}{name.upper()}"


def test_a_folder_of_models_takes_the_place_of_the_shipped_one() -> None:
    """Unless models are named beside it; the bound of memory is in MiB."""
    folder = Path("served")
    assert load_settings(models_dir=folder).models == ()
    assert load_settings(models_dir=folder, model=" ,").models == ()
    assert load_settings(models_dir=folder, model="a=x").models == (ModelSource("a", "x"),)
    assert load_settings().models == (ModelSource(None, None),)
    assert load_settings().model_memory_bytes is None
    assert load_settings(model_memory_mb=2).model_memory_bytes == 2 * 2**20
