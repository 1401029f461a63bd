"""What a hostile or an ordinary but odd client does to a real process."""

import asyncio
import json
import socket
from pathlib import Path

import httpx
import pytest

from benchmarks.processes import running

ASK = {
    "payment_id": "p1",
    "merchant_id": "m",
    "amount_minor": 1000,
    "currency": "EUR",
    "card_token": "c",
    "card_network": "visa",
    "issuer_country": "DE",
}


def settings(shelf: Path, folder: Path, **others: str) -> dict[str, str]:
    return {"POINTSMAN_BUNDLES": str(shelf), "POINTSMAN_JOURNAL": str(folder / "journal"), **others}


def test_an_offered_upgrade_is_ignored_and_the_request_answered(bundle_shelf: Path, tmp_path: Path) -> None:
    body = json.dumps(ASK).encode()
    head = (
        b"POST /api/decisioning/auth HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with running(settings(bundle_shelf, tmp_path), log=tmp_path / "log") as (url, _):
        port = int(url.rsplit(":", 1)[1])
        for pieces in ((head + body,), (head, body)):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                for piece in pieces:
                    client.sendall(piece)
                    if len(pieces) > 1:
                        # Let the head arrive by itself: its body must not be read as a request of its own.
                        asyncio.run(asyncio.sleep(0.05))
                assert client.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_the_same_question_asked_at_once_has_one_answer(bundle_shelf: Path, tmp_path: Path) -> None:
    async def ask(url: str) -> set[str]:
        async with httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=40)) as client:
            answers = await asyncio.gather(*(client.post("/api/decisioning/auth", json=ASK) for _ in range(40)))
        return {answer.json()["decision_id"] for answer in answers}

    with running(settings(bundle_shelf, tmp_path), log=tmp_path / "log") as (url, _):
        assert len(asyncio.run(ask(url))) == 1


def test_a_retry_asked_again_leaves_the_next_attempt_to_its_own_decision(bundle_shelf: Path, tmp_path: Path) -> None:
    with (
        running(settings(bundle_shelf, tmp_path), log=tmp_path / "log") as (url, _),
        httpx.Client(base_url=url) as client,
    ):
        retry = {**ASK, "amount_minor": 100_000, "decline": {"processor": "atlas", "response_code": "91"}}
        client.post("/api/decisioning/retry", json=retry)
        second = {**ASK, "amount_minor": 100_000, "attempt": 2, "processors": ["northpay"]}
        decided = client.post("/api/decisioning/auth", json=second).json()
        client.post("/api/decisioning/retry", json=retry)
        assert client.post("/api/decisioning/auth", json=second).json()["decision_id"] == decided["decision_id"]


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_snapshot_path_that_is_something_else_is_refused_and_left_alone(
    what: str, bundle_shelf: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    if what == "folder":
        mine.mkdir()
    else:
        mine.write_text("my notes, nothing to do with payments")
    log = tmp_path / "log"
    store = {"POINTSMAN_STORE": f"memory://{mine}"}
    with (
        pytest.raises(RuntimeError, match="ended by itself with code 2"),
        running(settings(bundle_shelf, tmp_path, **store), log=log),
    ):
        pass
    assert mine.exists()
    assert sorted(path.name for path in tmp_path.iterdir() if "unusable" in path.name) == []


def test_a_card_number_in_an_unknown_key_is_not_echoed(bundle_shelf: Path, tmp_path: Path) -> None:
    with running(settings(bundle_shelf, tmp_path), log=tmp_path / "log") as (url, _):
        for key in ("a4111111111111111abcdefa", "_4111_1111_1111_1111"):
            refused = httpx.post(f"{url}/api/decisioning/auth", json={**ASK, key: 1})
            assert refused.status_code == 422
            assert "1111" not in refused.text
