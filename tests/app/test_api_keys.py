"""API keys: made, hashed, listed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from app.api_keys import digest_of, listed, new_key, parse_api_keys
from app.settings import SettingsError, load_settings
from sagan import main


def test_the_entry_of_a_key_knows_it_again() -> None:
    """By its hash alone, which is not the key."""
    key = new_key()
    entry = listed("alice", key)
    assert key not in entry
    [known] = parse_api_keys(entry)
    assert known == ("alice", digest_of(key))


def test_a_list_has_commas_lines_and_comments() -> None:
    """And two keys of one name, while they are rotated."""
    old, new, other = (listed(name, new_key()) for name in ("alice", "alice", "bob"))
    text = f"# ours\n{old}, {new}\n\n{other}  # until May\n"
    assert [known.name for known in parse_api_keys(text)] == ["alice", "alice", "bob"]


@pytest.mark.parametrize("entry", ["secret-key", "alice:secret-key", ":" + "0" * 64, "a b:secret"])
def test_an_entry_that_is_none_is_refused_without_being_repeated(entry: str) -> None:
    """Someone may have put the key where its hash should be."""
    with pytest.raises(SettingsError, match=r"SAGAN_API_KEYS=.hidden. .*sagan api-key") as caught:
        load_settings(api_keys=entry)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_prints_a_key_and_its_entry() -> None:
    """A new one each time; a name that cannot be one is refused."""
    runs = [CliRunner().invoke(main, ["api-key", "alice"]) for _ in range(2)]
    assert runs[0].output != runs[1].output
    key, entry = (line.partition(" ")[2].strip() for line in runs[0].output.splitlines())
    assert parse_api_keys(entry) == (("alice", digest_of(key)),)
    refused = CliRunner().invoke(main, ["api-key", "a:b"])
    assert refused.exit_code == 2
    assert "a:b" in refused.output


@given(st.text(max_size=100))
def test_any_list_is_keys_or_refused(text: str) -> None:
    """Nothing else comes out, and no error has more than one line."""
    try:
        parse_api_keys(text)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017
