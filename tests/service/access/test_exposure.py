"""The service listens on loopback, or asks who comes, or was told that somebody else does."""

from pathlib import Path
from typing import Any

import pytest

from service.access.exposure import check, is_loopback
from service.errors import SettingsError
from service.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_open(host: str) -> None:
    assert is_loopback(host)
    check(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "192.0.2.1", "fe80::1", "no such host.invalid", ""])
def test_anywhere_else_is_refused_in_one_sentence_that_names_every_way_out(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check(Settings(host=host))
    sentence = str(caught.value)
    assert sentence.startswith("POINTSMAN_HOST: expected a loopback address, because nobody is asked for a key: ")
    for way in ("POINTSMAN_KEYS", "POINTSMAN_JWT_KEYS", "POINTSMAN_OPEN=yes"):
        assert way in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("way", [{"keys": Path("keys")}, {"jwt_keys": Path("jwks")}, {"open": True}], ids=str)
def test_each_way_out_is_one(way: Any) -> None:
    check(Settings(host="0.0.0.0", **way))
