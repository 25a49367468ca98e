"""URLs of Redis and of Sentinels."""

from __future__ import annotations

from app.redis_url import Address, SentinelUrl, parse_sentinel_url


def test_a_url_of_sentinels_has_hosts_service_and_credentials() -> None:
    """Port and database have defaults; a password is unescaped."""
    assert parse_sentinel_url("redis://host") is None
    assert parse_sentinel_url("redis+sentinel://a/main") == SentinelUrl(
        (Address("a", 26379),), "main"
    )
    url = "rediss+sentinel://me:p%40ss@a:1,b,[::1]:3/main/2?sentinel_password=s"
    assert parse_sentinel_url(url) == SentinelUrl(
        (Address("a", 1), Address("b", 26379), Address("::1", 3)),
        "main",
        2,
        "me",
        "p@ss",
        tls=True,
        sentinel_password="s",  # noqa: S106
    )
