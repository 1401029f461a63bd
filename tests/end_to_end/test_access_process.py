"""A real process that asks who comes: keys and tokens that change under it, limits, TLS, and nothing of it in any log."""

import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from benchmarks.processes import Process, running
from service.access import keyfile
from tests.parts import PAYMENT, activate, add_bundle
from tests.servers import free_port

WAIT_SECONDS = 20.0
PAN = "4111111111111111"


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def keys_command(path: Path, *arguments: str) -> str:
    """Run ``python -m service keys`` as an operator would; return what it prints."""
    environment = {**os.environ, "POINTSMAN_KEYS": str(path)}
    command = [sys.executable, "-m", "service", "keys", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def settings(shelf: Path, folder: Path, **others: str) -> dict[str, str]:
    return {
        "POINTSMAN_BUNDLES": str(shelf),
        "POINTSMAN_JOURNAL": str(folder / "journal"),
        "POINTSMAN_BUDGET_MS": "5000",
        **others,
    }


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def asked(client: httpx.Client, text: str | None, payment_id: str = "p") -> httpx.Response:
    body = {**PAYMENT, "payment_id": payment_id}
    return client.post("/api/decisioning/auth", json=body, headers={} if text is None else bearer(text))


def test_keys_are_made_rotated_and_revoked_while_the_service_runs(bundle_shelf: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first = keys_command(path, "add", "--name", "gateway", "--scope", "decide")
    chosen = settings(bundle_shelf, tmp_path, POINTSMAN_KEYS=str(path))
    with running(chosen, log=tmp_path / "log") as (url, _), httpx.Client(base_url=url) as client:
        nobody = asked(client, None)
        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer realm="pointsman"')
        assert nobody.json()["code"] == "unauthenticated"
        assert asked(client, first).status_code == 200
        report = client.post("/api/decisioning/outcomes", json={}, headers=bearer(first))
        assert (report.status_code, report.json()["code"]) == (403, "forbidden")
        assert 'scope="report"' in report.headers["www-authenticate"]
        second = keys_command(path, "rotate", first.split("_")[1], "--grace-hours", "1")
        until(lambda: asked(client, second).status_code == 200)
        assert asked(client, first).status_code == 200
        keys_command(path, "revoke", first.split("_")[1])
        until(lambda: asked(client, first).status_code == 401)
        assert asked(client, second).status_code == 200
        # A file that cannot be read leaves things as they are, and says so.
        whole = path.read_bytes()
        path.write_bytes(whole[:-10])
        until(lambda: client.get("/health/ready").json()["parts"]["keys"]["state"] == "degraded")
        assert asked(client, second).status_code == 200
        assert client.get("/health/ready").json()["ready"] is True
    log = (tmp_path / "log").read_text()
    assert "credentials were not taken" in log
    for text in (first, second):
        assert text[16:] not in log


def test_a_token_is_an_alternative_and_a_new_key_set_is_taken_up(bundle_shelf: Path, tmp_path: Path) -> None:
    old, new = (rsa.generate_private_key(65_537, 2_048) for _ in range(2))
    path = tmp_path / "jwks.json"

    def publish(**keys: rsa.RSAPrivateKey) -> None:
        members = [{**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid} for kid, key in keys.items()]
        path.write_text(json.dumps({"keys": members}))

    def token(key: rsa.RSAPrivateKey, kid: str, **changes: Any) -> str:
        claims = {
            "iss": "https://id.example",
            "aud": "pointsman",
            "sub": "gateway",
            "exp": int(time.time()) + 600,
            "scope": "decide",
            **changes,
        }
        return jwt.encode(claims, key, "RS256", {"kid": kid})

    publish(old=old)
    chosen = settings(
        bundle_shelf,
        tmp_path,
        POINTSMAN_JWT_KEYS=str(path),
        POINTSMAN_JWT_ISSUER="https://id.example",
        POINTSMAN_JWT_AUDIENCE="pointsman",
    )
    with running(chosen, log=tmp_path / "log") as (url, _), httpx.Client(base_url=url) as client:
        good = token(old, "old")
        assert [asked(client, good).status_code for _ in range(3)] == [200] * 3
        assert asked(client, token(old, "old", scope="read")).status_code == 403
        for wrong in (token(new, "old"), token(old, "old", aud="x"), token(old, "old", exp=1), good + "x"):
            assert asked(client, wrong).status_code == 401
        publish(new=new)
        until(lambda: asked(client, token(new, "new")).status_code == 200)
        assert asked(client, good).status_code == 401


def test_a_key_that_asks_too_often_is_held_back_and_no_other(bundle_shelf: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    eager = keyfile.add(path, name="eager", scopes=["decide"], rate=0.01, burst=5).text
    other = keyfile.add(path, name="other", scopes=["decide"]).text
    chosen = settings(bundle_shelf, tmp_path, POINTSMAN_KEYS=str(path))
    with running(chosen, log=tmp_path / "log") as (url, _), httpx.Client(base_url=url) as client:
        answers = [asked(client, eager, f"p{number}") for number in range(8)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
        assert answers[-1].json()["code"] == "rate_limited"
        assert 60 < int(answers[-1].headers["retry-after"]) <= 100
        assert asked(client, other).status_code == 200


def test_an_administrator_moves_the_pointer_and_the_command_line_writes_the_same_record(
    bundle_shelf: Path, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    for version in ("first", "second", "damaged"):
        folder = add_bundle(shelf, bundle_shelf, version)
    (folder / "routing.onnx").write_bytes(b"half a graph")
    activate(shelf, "first")
    path = tmp_path / "keys.json"
    admin = keyfile.add(path, name="release", scopes=["admin", "read"])
    chosen = settings(shelf, tmp_path, POINTSMAN_KEYS=str(path), POINTSMAN_BUNDLE_POLL_SECONDS="3600")
    with running(chosen, log=tmp_path / "log") as (url, _):
        client = httpx.Client(base_url=url, headers=bearer(admin.text), timeout=30)
        with client:

            def active() -> str:
                return str(client.get("/api/models").json()["version"])

            done = client.post("/api/models/activate", json={"version": "second"})
            assert (done.status_code, done.json()["active"], active()) == (200, "second", "second")
            bad = client.post("/api/models/activate", json={"version": "damaged"})
            assert (bad.status_code, bad.json()["code"]) == (409, "bundle_refused")
            assert bad.json()["detail"].startswith("routing.onnx was altered: expected sha256 ")
            command = [sys.executable, "-m", "trainer", "bundle", "activate", "first", "--bundles", str(shelf)]
            assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
            back = client.post("/api/models/rollback")
            assert (back.status_code, back.json()["active"], active()) == (200, "second", "second")
            acts = client.get("/api/models/history").json()["activations"]
            assert [(act["version"], act["act"], act["before"]) for act in acts[:3]] == [
                ("second", "rollback", "first"),
                ("first", "activate", "second"),
                ("second", "activate", "first"),
            ]
            named = f"key release ({admin.key.id})"
            assert [(act["by"], act["source"]) for act in (acts[0], acts[2])] == [(named, "127.0.0.1")] * 2
            assert acts[1]["source"].startswith("command line of ")
            assert acts[1]["by"] not in {None, named}


def test_nothing_that_an_attacker_or_a_customer_sends_is_in_any_log(bundle_shelf: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    good = keyfile.add(path, name="gateway", scopes=["decide", "report", "read", "admin"]).text
    marks = {
        name: f"{name}{secrets.token_hex(8)}" for name in ("token", "field", "path", "header", "query", "agent", "jwt")
    }
    log = tmp_path / "log"
    chosen = settings(
        bundle_shelf, tmp_path, POINTSMAN_KEYS=str(path), POINTSMAN_LOG_LEVEL="debug", POINTSMAN_STORE="memory://"
    )
    bodies: list[bytes] = [
        json.dumps({**PAYMENT, "card_token": marks["field"]}).encode(),
        json.dumps({**PAYMENT, "payment_id": PAN}).encode(),
        json.dumps({**PAYMENT, marks["field"]: 1}).encode(),
        json.dumps({**PAYMENT, "currency": marks["field"]}).encode(),
        json.dumps({"version": marks["field"]}).encode(),
        b'{"payment_id":"' + marks["field"].encode(),
        b"\xff" * 100 + marks["field"].encode(),
        b"[" * 5_000 + marks["field"].encode(),
        marks["field"].encode() * 10_000,
    ]
    credentials = [
        {},
        bearer(good),
        bearer(f"pm_{marks['token']}"),
        bearer(good[:-1] + "x"),
        bearer(f"{marks['jwt']}.{marks['jwt']}.{marks['jwt']}"),
        {"x-api-key": marks["token"]},
        {"authorization": f"Basic {marks['token']}"},
    ]
    with running(chosen, log=log) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        with httpx.Client(base_url=url, headers={"user-agent": marks["agent"], "x-note": marks["header"]}) as client:
            for credential in credentials:
                for name in ("decisioning/auth", "decisioning/outcomes", "models/activate", marks["path"]):
                    for body in bodies:
                        answer = client.post(f"/api/{name}?q={marks['query']}", content=body, headers=credential)
                        assert answer.status_code < 500
                        assert PAN not in answer.text
                        assert good not in answer.text
                client.get(f"/api/decisions/{marks['path']}", headers=credential)
        raw = marks["header"].encode()
        for junk in (
            b"GET /" + raw + b"\x00 HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01" + raw,
            b"POST /api/decisioning/auth HTTP/1.1\r\nx: " + raw + b"\r\ncontent-length: x\r\n\r\n",
            b"POST /api/decisioning/auth HTTP/9.9\r\nauthorization: Bearer " + raw + b"\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
                wire.sendall(junk)
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(65_536):
                    pass
        status = httpx.get(url + "/metrics", headers=bearer(good))
        assert status.status_code == 200
    said = log.read_text() + status.text
    assert "turned away" in said
    for name, mark in {**marks, "key": good[16:], "bad key": good[16:-1], "number": PAN}.items():
        assert mark not in said, name


@contextmanager
def serving(chosen: dict[str, str], port: int, log: Path) -> Iterator[None]:
    """Start a service on any address, and wait until it listens."""
    environment = {**chosen, "POINTSMAN_PORT": str(port)}
    with Process([sys.executable, "-m", "service"], environment, log=log) as process:

        def listens() -> bool:
            process.check()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens)
        yield


def test_tls_is_spoken_directly(bundle_shelf: Path, tmp_path: Path, certificate: Path) -> None:
    path = tmp_path / "keys.json"
    text = keyfile.add(path, name="gateway", scopes=["decide"]).text
    chosen = settings(
        bundle_shelf,
        tmp_path,
        POINTSMAN_HOST="0.0.0.0",
        POINTSMAN_KEYS=str(path),
        POINTSMAN_TLS_CERT=str(certificate),
        POINTSMAN_TLS_KEY=str(certificate.with_name("key")),
    )
    port = free_port()
    url = f"https://127.0.0.1:{port}"
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(chosen, port, tmp_path / "log"), httpx.Client(base_url=url, verify=trusting, timeout=30) as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        for answer in (asked(client, text), asked(client, text, "q"), asked(client, None), client.get("/health/live")):
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert asked(client, text, "r").json()["action"] in {"approve", "challenge", "review", "decline"}
        # Who speaks no TLS gets no answer, and the service goes on.
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/health/live")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.set_ciphers("AES256-SHA")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as wire:
            old.wrap_socket(wire)
        assert asked(client, text, "s").status_code == 200


def refused_start(tmp_path: Path, **variables: str) -> str:
    """Start a service that is not to start; return the one sentence it says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    environment = {**inherited, "POINTSMAN_JOURNAL": str(tmp_path / "journal"), "POINTSMAN_LOG_LEVEL": "error"}
    environment |= {f"POINTSMAN_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-m", "service"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


def test_it_does_not_start_where_others_come_and_nobody_is_asked(tmp_path: Path) -> None:
    port = str(free_port())
    for host in ("0.0.0.0", "::"):
        said = refused_start(tmp_path, HOST=host, PORT=port)
        assert said.startswith(
            "pointsman: POINTSMAN_HOST: expected a loopback address, because nobody is asked for a key"
        )
        assert said.endswith(f"got `{host}`\n")
    said = refused_start(tmp_path, HOST="0.0.0.0", PORT=port, KEYS=str(tmp_path / "none.json"))
    assert said.startswith(f"pointsman: {tmp_path / 'none.json'} is refused: it cannot be read")
    (tmp_path / "cert").write_text("none")
    said = refused_start(tmp_path, PORT=port, TLS_CERT=str(tmp_path / "cert"))
    assert said == "pointsman: POINTSMAN_TLS_KEY: expected to be set, because POINTSMAN_TLS_CERT is, got nothing\n"
    said = refused_start(tmp_path, PORT=port, TLS_CERT=str(tmp_path / "cert"), TLS_KEY=str(tmp_path / "cert"))
    assert "expected a certificate in PEM" in said
    said = refused_start(tmp_path, PORT=port, JWT_KEYS=str(tmp_path / "cert"))
    assert "POINTSMAN_JWT_ISSUER: expected to be set" in said


def test_told_to_be_open_it_is_open(bundle_shelf: Path, tmp_path: Path) -> None:
    port = free_port()
    chosen = settings(bundle_shelf, tmp_path, POINTSMAN_HOST="0.0.0.0", POINTSMAN_OPEN="yes")
    with serving(chosen, port, tmp_path / "log"), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        until(lambda: client.get("/health/ready").status_code == 200)
        assert asked(client, None).status_code == 200


def test_every_worker_takes_up_a_revoked_key(bundle_shelf: Path, tmp_path: Path, redis_url: str) -> None:
    path = tmp_path / "keys.json"
    made = keyfile.add(path, name="gateway", scopes=["decide"])
    chosen = settings(
        bundle_shelf, tmp_path, POINTSMAN_KEYS=str(path), POINTSMAN_STORE=redis_url, POINTSMAN_WORKERS="2"
    )
    with running(chosen, log=tmp_path / "log") as (url, _):

        def answers() -> set[int]:
            # A connection each, so that both workers are met.
            return {
                httpx.post(f"{url}/api/decisioning/auth", json=PAYMENT, headers=bearer(made.text)).status_code
                for _ in range(24)
            }

        until(lambda: answers() == {200})
        keyfile.revoke(path, made.key.id)
        until(lambda: answers() == {401})
