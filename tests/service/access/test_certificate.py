"""A certificate is taken with its own key, again when it is renewed, and what is refused leaves the old one in place."""

import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from service.access.certificate import Certificate, open_certificate
from service.errors import CredentialsRefused
from service.settings import Settings


def make(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """Return a certificate of this common name, which signs itself, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("makes a certificate with openssl, which is not on PATH")
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    fixed = f"req -x509 -newkey rsa:2048 -days 2 -subj /CN={name} -keyout {key} -out {chain}"
    subprocess.run([program, *fixed.split(), *(options or ["-nodes"])], check=True, capture_output=True)
    return chain, key


def name_shown(certificate: Certificate, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
    """Return the common name that a client sees, over a real socket."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            certificate.context.wrap_socket(ours, server_side=True).close()
        except (ssl.SSLError, OSError):
            ours.close()

    server = threading.Thread(target=serve)
    server.start()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.minimum_version = client.maximum_version = version
    try:
        with client.wrap_socket(theirs) as wire:
            der = wire.getpeercert(binary_form=True)
    finally:
        server.join(timeout=10)
    assert der is not None
    return next(name for name in ("one", "two") if f"{name}".encode() in der)


def test_a_renewed_certificate_is_shown_to_the_next_connection(tmp_path: Path) -> None:
    (tmp_path / "in use").mkdir()
    chain, key = tmp_path / "in use" / "chain", tmp_path / "in use" / "key"

    def put(name: str, *, whole: bool = True) -> None:
        made = (
            make(tmp_path, name)
            if not (tmp_path / f"{name}.pem").exists()
            else (tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        )
        shutil.copy(made[0], chain)
        if whole:
            shutil.copy(made[1], key)

    put("one")
    certificate = Certificate(chain, key)
    assert name_shown(certificate) == "one"
    assert name_shown(certificate, ssl.TLSVersion.TLSv1_2) == "one"
    put("two", whole=False)
    certificate.look()
    # Half of a renewal is none.
    assert certificate.failing is not None
    assert name_shown(certificate) == "one"
    put("two")
    certificate.look()
    assert certificate.failing is None
    assert name_shown(certificate) == "two"


def test_older_tls_is_refused(tmp_path: Path) -> None:
    certificate = Certificate(*make(tmp_path, "one"))
    assert certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
    for cipher in certificate.context.get_ciphers():
        assert cipher["protocol"] == "TLSv1.3" or (cipher["name"].startswith("ECDHE-") and "CBC" not in cipher["name"])
        assert "GCM" in cipher["name"] or "CHACHA20" in cipher["name"]


def test_what_cannot_be_used_is_refused_and_never_asks_for_a_password(tmp_path: Path) -> None:
    chain, key = make(tmp_path, "one")
    other = make(tmp_path, "two")
    locked = make(tmp_path, "locked", "-passout", "pass:hunter2")
    (tmp_path / "text").write_text("no certificate")
    for pair in (
        (chain, other[1]),
        (key, key),
        (tmp_path / "text", key),
        (tmp_path / "none", key),
        (chain, tmp_path / "none"),
        locked,
    ):
        with pytest.raises(CredentialsRefused, match="is refused: "):
            Certificate(*pair)


def test_without_the_settings_there_is_none(tmp_path: Path) -> None:
    assert open_certificate(Settings()) is None
    chain, key = make(tmp_path, "one")
    certificate = open_certificate(Settings(tls_cert=chain, tls_key=key))
    assert certificate is not None
    assert certificate.server_options()["headers"] == [("strict-transport-security", "max-age=31536000")]
