"""Who comes is known by a key or a token, may do what its scopes say, and no more often than its limit."""

import contextlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.access import keyfile, keyring
from service.access.caller import SCOPES, Caller, Limit, limit_of
from service.access.gate import Gate
from service.access.keyring import Keyring
from service.errors import CredentialsRefused, Forbidden, RateLimited, Unauthenticated

Headers = dict[bytes, bytes]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def gate_of(path: Path, rate: float = 0.0, burst: int = 0, clock: Callable[[], float] = time.time) -> Gate:
    return Gate(Keyring(path, rate=rate, burst=burst, clock=clock), None)


def bearer(text: str) -> Headers:
    return {b"authorization": b"Bearer " + text.encode()}


def refused(gate: Gate, headers: Headers) -> str:
    with pytest.raises(Unauthenticated) as caught:
        gate.admit("read", headers, 0.0)
    assert caught.value.presented == (bool(headers) and b"cookie" not in headers)
    return str(caught.value)


def test_a_key_is_taken_in_either_header_and_has_the_name_it_was_made_with(path: Path) -> None:
    made = keyfile.add(path, name="gateway", scopes=["read"])
    gate = gate_of(path)
    text = made.text.encode()
    for headers in (
        {b"authorization": b"Bearer " + text},
        {b"authorization": b"bearer  " + text + b" "},
        {b"x-api-key": text},
        {b"x-api-key": b" " + text},
        {b"authorization": b"Basic dXNlcjpwYXNz", b"x-api-key": text},
    ):
        assert gate.admit("read", headers, 0.0).name == f"key gateway ({made.key.id})"


def test_what_proves_nothing_is_refused_with_one_sentence_whatever_is_wrong_with_it(path: Path) -> None:
    made = keyfile.add(path, name="gateway", scopes=["read"])
    other = keyfile.add(path, name="other", scopes=["read"])
    gone = keyfile.add(path, name="gone", scopes=["read"])
    keyfile.revoke(path, gone.key.id)
    gate = gate_of(path)
    text = made.text
    wrong = [
        text[:-1],
        text + "x",
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        text.upper(),
        "pm_" + other.key.id + text[15:],
        "pm_nobodyatall1_" + text[16:],
        "pm_",
        "pm_" + "x" * 100_000,
        made.key.sha256,
        gone.text,
        "eyJhbGciOiJub25lIn0.e30.",
        "é",
        "\x00",
    ]
    sentences = {refused(gate, bearer(text)) for text in wrong}
    sentences |= {refused(gate, {b"x-api-key": text.encode()}) for text in wrong}
    sentences.add(refused(gate, {b"authorization": b"Bearer"}))
    sentences.add(refused(gate, {b"authorization": b"Basic " + text.encode()}))
    assert sentences == {"expected a key or token that is known and has not ended"}
    assert refused(gate, {}) == refused(gate, {b"cookie": text.encode()})
    assert "Authorization: Bearer" in refused(gate, {})


def test_digests_are_compared_in_constant_time_and_secrets_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = keyfile.add(path, name="gateway", scopes=["read"])
    gate = gate_of(path)
    compared: list[tuple[bytes, bytes]] = []
    honest = keyring.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return honest(one, other)

    monkeypatch.setattr(keyring, "compare_digest", watched)
    gate.admit("read", bearer(made.text), 0.0)
    refused(gate, bearer(made.text[:-1] + "-"))
    # A key that is not known takes the same way as one that is.
    refused(gate, bearer("pm_nobodyatall1_" + made.text[16:]))
    assert [len(one) for pair in compared for one in pair] == [32] * 6
    assert [one == other for one, other in compared] == [True, False, False]


def test_nothing_in_memory_holds_the_text_of_a_key(path: Path) -> None:
    made = keyfile.add(path, name="gateway", scopes=["read"])
    ring = Keyring(path, rate=0.0, burst=0)
    ring.caller(made.text.encode())
    assert made.text[16:] not in repr(ring.__dict__)


@pytest.mark.parametrize("held", SCOPES)
def test_a_scope_is_what_it_says_and_holds_no_other(path: Path, held: str) -> None:
    made = keyfile.add(path, name="one", scopes=[held])
    gate = gate_of(path)
    for scope in SCOPES:
        if scope == held:
            assert gate.admit(scope, bearer(made.text), 0.0).scopes == {held}
        else:
            with pytest.raises(Forbidden) as caught:
                gate.admit(scope, bearer(made.text), 0.0)
            assert caught.value.scope == scope


def test_a_key_works_until_its_time_is_up(path: Path) -> None:
    made = keyfile.add(path, name="short", scopes=["read"], lasts=timedelta(days=1))
    now = [time.time()]
    gate = gate_of(path, clock=lambda: now[0])
    gate.admit("read", bearer(made.text), 0.0)
    now[0] += 86_390
    gate.admit("read", bearer(made.text), 0.0)
    now[0] += 20
    refused(gate, bearer(made.text))


def test_a_change_of_the_file_is_taken_up_and_what_is_refused_leaves_all_as_it_was(path: Path) -> None:
    first = keyfile.add(path, name="first", scopes=["read"])
    gate = gate_of(path)
    second = keyfile.add(path, name="second", scopes=["read"])
    refused(gate, bearer(second.text))
    gate.look()
    gate.admit("read", bearer(second.text), 0.0)
    keyfile.revoke(path, first.key.id)
    gate.look()
    refused(gate, bearer(first.text))
    whole = path.read_bytes()
    for broken in (whole[:-20], b"", None):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        gate.look()
        assert gate.failing is not None
        gate.admit("read", bearer(second.text), 0.0)
        refused(gate, bearer(first.text))
    path.write_bytes(whole)
    gate.look()
    assert gate.failing is None


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    # That is how a secret that is mounted into a container is replaced.
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    keyfile.add(tmp_path / "old" / "keys.json", name="k", scopes=["read"])
    new = keyfile.add(tmp_path / "new" / "keys.json", name="k", scopes=["read"])
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "old")
    gate = gate_of(link / "keys.json")
    fresh = tmp_path / "fresh"
    fresh.symlink_to(tmp_path / "new")
    fresh.replace(link)
    gate.look()
    gate.admit("read", bearer(new.text), 0.0)


def test_without_a_file_there_is_no_gate(path: Path) -> None:
    with pytest.raises(CredentialsRefused, match="keys add"):
        gate_of(path)


def test_a_limit_lets_a_burst_through_and_then_so_many_a_second() -> None:
    limit = Limit(10.0, 5)
    for _ in range(5):
        limit.take(100.0)
    with pytest.raises(RateLimited) as caught:
        limit.take(100.0)
    assert caught.value.retry_after == 1
    limit.take(100.1001)
    with pytest.raises(RateLimited):
        limit.take(100.1002)
    # After a pause there is a burst again, and no more than one.
    for _ in range(5):
        limit.take(1_000.0)
    with pytest.raises(RateLimited):
        limit.take(1_000.0)


@pytest.mark.parametrize(("rate", "burst"), [(1.0, 1), (7.3, 3), (250.0, 40), (0.2, 2)])
def test_in_the_long_run_a_limit_is_its_rate(rate: float, burst: int) -> None:
    limit = Limit(rate, burst)
    now, taken, step = 0.0, 0, 1 / (rate * 7)
    for _ in range(7_000):
        now += step
        with contextlib.suppress(RateLimited):
            limit.take(now)
            taken += 1
    assert rate * now - 1 <= taken <= rate * now + burst


def test_a_slow_limit_says_how_long_to_wait() -> None:
    limit = Limit(0.01, 1)
    limit.take(0.0)
    with pytest.raises(RateLimited) as caught:
        limit.take(30.0)
    assert caught.value.retry_after == 70


def test_a_rate_of_nothing_is_no_limit_and_a_burst_of_nothing_is_a_second() -> None:
    assert limit_of(0.0, 10) is None
    for rate, burst, expected in ((10.0, 0, 10), (0.5, 0, 1), (10.5, 0, 11), (10.0, 3, 3)):
        limit = limit_of(rate, burst)
        assert limit is not None
        assert limit.burst == expected


def test_each_key_has_its_own_limit_and_keeps_what_it_used_when_the_file_changes(path: Path) -> None:
    standard = keyfile.add(path, name="standard", scopes=["read"])
    other = keyfile.add(path, name="other", scopes=["read"])
    free = keyfile.add(path, name="free", scopes=["read"], rate=0.0)
    gate = gate_of(path, rate=1.0, burst=2)
    for _ in range(2):
        gate.admit("read", bearer(standard.text), 50.0)
    with pytest.raises(RateLimited):
        gate.admit("read", bearer(standard.text), 50.0)
    for _ in range(2):
        gate.admit("read", bearer(other.text), 50.0)
    for _ in range(100):
        gate.admit("read", bearer(free.text), 50.0)
    keyfile.add(path, name="another", scopes=["read"])
    gate.look()
    with pytest.raises(RateLimited):
        gate.admit("read", bearer(standard.text), 50.0)
    raised = json.loads(path.read_text())
    raised["keys"][0].update(rate=100.0, burst=5)
    path.write_text(json.dumps(raised))
    gate.look()
    for _ in range(5):
        gate.admit("read", bearer(standard.text), 50.0)


def test_a_key_and_a_token_each_go_to_what_knows_them(path: Path) -> None:
    made = keyfile.add(path, name="gateway", scopes=["read"])

    class Tokens:
        failing = None
        asked: list[bytes] = []  # noqa: RUF012

        def caller(self, text: bytes) -> Caller:
            self.asked.append(text)
            return Caller("token t", frozenset({"read"}), None)

        def look(self, *, anyway: bool = False) -> None:
            raise AssertionError

    tokens: Any = Tokens()
    gate = Gate(Keyring(path, rate=0.0, burst=0), tokens)
    assert gate.admit("read", bearer(made.text), 0.0).name.startswith("key gateway")
    assert gate.admit("read", bearer("a.b.c"), 0.0).name == "token t"
    assert gate.admit("read", {b"x-api-key": b"a.b.c"}, 0.0).name == "token t"
    assert tokens.asked == [b"a.b.c"] * 2
    with pytest.raises(Unauthenticated):
        gate.admit("read", bearer("pm_a.b.c"), 0.0)
