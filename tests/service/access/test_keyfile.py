"""The file of keys: what is in it is enough to know a key again, and never enough to make one."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.access import command, keyfile
from service.errors import CredentialsRefused
from service.settings import keys_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "keys.json"


def made(path: Path, **changes: object) -> keyfile.Made:
    return keyfile.add(path, **{"name": "gateway", "scopes": ["decide"], **changes})  # type: ignore[arg-type]


def test_a_key_is_256_bits_and_only_its_digest_is_on_disk(path: Path) -> None:
    one, other = made(path), made(path, name="reporter", scopes=["report", "decide"])
    assert one.text != other.text
    assert len(one.text) == keyfile.LENGTH
    assert one.text.startswith(f"pm_{one.key.id}_")
    everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for key in (one, other):
        assert key.key.id.encode() in everything
        assert key.text.split("_", 2)[2].encode() not in everything
        assert keyfile.digest(key.text.encode()).hex() == key.key.sha256
    assert keyfile.read(path) == (one.key, other.key)
    assert other.key.scopes == ("decide", "report")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_change_is_one_rename_and_leaves_nothing_behind(path: Path) -> None:
    key = made(path).key
    before = path.stat().st_ino
    keyfile.revoke(path, key.id)
    assert path.stat().st_ino != before
    assert {file.name for file in path.parent.iterdir()} == {"keys.json", "keys.json.acts.jsonl"}


def test_every_act_is_on_record_with_who_and_from_where(path: Path) -> None:
    first = made(path).key
    second = keyfile.rotate(path, first.id, grace=timedelta(hours=1)).key
    keyfile.revoke(path, second.id)
    acts = [json.loads(line) for line in keyfile.acts_of(path).read_text().splitlines()]
    assert [(act["act"], act["id"]) for act in acts] == [
        ("add", first.id),
        (f"rotate {first.id}", second.id),
        ("revoke", second.id),
    ]
    for act in acts:
        assert act["by"]
        assert act["source"].startswith("command line of ")
        assert datetime.fromisoformat(act["at"]).tzinfo is not None


def test_a_rotated_key_works_on_for_a_while_and_its_successor_is_like_it(path: Path) -> None:
    old = made(path, lasts=timedelta(days=90), rate=50.0, burst=7).key
    new = keyfile.rotate(path, old.id, grace=timedelta(hours=2)).key
    kept = {key.id: key for key in keyfile.read(path)}
    now = datetime.now(UTC)
    ends = kept[old.id].expires_at
    assert ends is not None
    assert timedelta(hours=1) < ends - now < timedelta(hours=3)
    assert keyfile.works(kept[old.id], now)
    assert not keyfile.works(kept[old.id], now + timedelta(hours=3))
    assert (new.name, new.scopes, new.rate, new.burst) == (old.name, old.scopes, 50.0, 7)
    assert new.expires_at is not None
    assert timedelta(days=89) < new.expires_at - now < timedelta(days=91)
    # A grace never lets a key work longer than it would have.
    short = made(path, lasts=timedelta(hours=1)).key
    keyfile.rotate(path, short.id, grace=timedelta(days=9))
    assert {key.id: key for key in keyfile.read(path)}[short.id].expires_at == short.expires_at


def test_a_revoked_key_stays_on_record_and_cannot_be_rotated(path: Path) -> None:
    key = made(path).key
    revoked = keyfile.revoke(path, key.id)
    assert revoked.revoked_at is not None
    # The first moment stands.
    assert keyfile.revoke(path, key.id).revoked_at == revoked.revoked_at
    assert not keyfile.works(keyfile.read(path)[0], datetime.now(UTC))
    with pytest.raises(CredentialsRefused, match="does not work any more"):
        keyfile.rotate(path, key.id, grace=timedelta(0))
    with pytest.raises(CredentialsRefused, match="no key of this id"):
        keyfile.revoke(path, "nobodyatall1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no file of keys"),
        (b"[]", "no file of keys"),
        (b'{"format":2,"keys":[]}', "expected format 1, got 2"),
        (b'{"format":1,"keys":[{"id":"x"}]}', "no file of keys"),
        (b'{"format":1,"keys":[%b,%b]}', "twice"),
        (b'{"format":1,"keys":[%b]}'.replace(b"%b", b"%b", 1), None),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_reason(path: Path, content: bytes, reason: str | None) -> None:
    key = b'{"id":"abcdefghij12","name":"n","scopes":["read"],"sha256":"%b","made_at":"2026-01-01T00:00:00Z"}' % (
        b"a" * 64
    )
    path.parent.mkdir()
    path.write_bytes(content.replace(b"%b", key))
    if reason is None:
        assert len(keyfile.read(path)) == 1
        return
    with pytest.raises(CredentialsRefused, match=reason):
        keyfile.read(path)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("id", "ABCDEFGHIJ12"),
        ("id", "short"),
        ("sha256", "a" * 63),
        ("sha256", "Z" * 64),
        ("name", "a\nb"),
        ("scopes", ["root"]),
    ],
)
def test_a_key_of_another_form_is_refused(path: Path, field: str, wrong: object) -> None:
    made(path)
    content = json.loads(path.read_text())
    content["keys"][0][field] = wrong
    path.write_text(json.dumps(content))
    with pytest.raises(CredentialsRefused):
        keyfile.read(path)


def test_a_file_that_everybody_may_write_is_refused(path: Path) -> None:
    made(path)
    path.chmod(0o602)
    with pytest.raises(CredentialsRefused, match="everybody may write it"):
        keyfile.read(path)


@pytest.mark.parametrize(("name", "scopes"), [("", ["read"]), ("a b", ["read"]), ("ok", []), ("ok", ["read", "root"])])
def test_a_name_or_scope_that_is_none_makes_no_key(path: Path, name: str, scopes: list[str]) -> None:
    with pytest.raises(CredentialsRefused):
        made(path, name=name, scopes=scopes)
    assert not path.exists()


def test_many_at_once_lose_no_key(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from service.access import keyfile\n"
        "for _ in range(10): keyfile.add(Path(sys.argv[1]), name='n', scopes=['read'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    children = [subprocess.Popen([sys.executable, "-c", program, str(path)], env=environment) for _ in range(4)]
    assert [child.wait(timeout=60) for child in children] == [0] * 4
    assert len(keyfile.read(path)) == 40
    assert len(keyfile.acts_of(path).read_text().splitlines()) == 40


def said(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[int, str, str]:
    code = command.main([*arguments, "--file", str(path)], path)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_commands_show_a_key_once_and_never_again(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = said(capsys, path, "add", "--name", "gateway-eu", "--scope", "decide, report", "--rate", "100")
    assert (code, len(text)) == (0, keyfile.LENGTH + 1)
    identifier = text.split("_")[1]
    code, listed, told = said(capsys, path, "list")
    assert code == 0
    assert listed.startswith(f"{identifier}  works  gateway-eu  decide,report, 100/s at most  made ")
    secret = text.strip().split("_", 2)[2]
    assert secret not in listed + told
    code, rotated, told = said(capsys, path, "rotate", identifier, "--grace-hours", "1.5")
    assert code == 0
    assert rotated != text
    assert f"the key {identifier} ends in 1.5 hours" in told
    code, out, told = said(capsys, path, "revoke", identifier)
    assert (code, out, told) == (0, "", f"revoked: {identifier} (gateway-eu)\n")
    _, listed, _ = said(capsys, path, "list")
    assert listed.splitlines()[0].split()[1] == "revoked"
    assert listed.splitlines()[1].split()[1] == "works"


def test_a_command_that_cannot_is_one_sentence_and_exit_code_2(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, told = said(capsys, path, "revoke", "nobodyatall1")
    assert (code, out, told.count("\n")) == (2, "", 1)
    code, _, told = said(capsys, path, "list")
    assert code == 2
    assert "`python -m service keys add` makes one" in told
    code, _, told = said(capsys, path, "add", "--name", "x", "--scope", "everything")
    assert (code, told.endswith("expected scopes out of decide, report, read, admin\n")) == (2, True)
    for wrong in (["--days", "0"], ["--rate", "-1"], ["--rate", "nan"], ["--burst", "0"]):
        with pytest.raises(SystemExit):
            said(capsys, path, "add", "--name", "x", "--scope", "read", *wrong)


def test_the_commands_mean_the_file_of_the_settings() -> None:
    assert keys_file({}) == Path("var/keys.json")
    assert keys_file({"POINTSMAN_KEYS": " /run/keys "}) == Path("/run/keys")
