"""The peers' run: one forest for all, a peer that cannot be had is named, and the table says what it does not say."""

import json
import sys
from datetime import UTC, datetime

import joblib
import numpy as np
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import environments, measure
from benchmarks.peers.catalogue import PEERS, SERVERS
from benchmarks.peers.forest import CANDIDATES, FEATURES, STATE, make
from benchmarks.peers.measure import Absent, Result, WrongAnswer
from benchmarks.peers.report import Report, plot, rendered
from benchmarks.results import Latency, Machine, Row
from trainer.fit.export import session

FIRST = PEERS[0]


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forest")
    return folder, make(folder)


def test_both_files_hold_the_same_forest(forest):
    folder, payments = forest
    fitted, run = joblib.load(folder / "forest.joblib"), session((folder / "forest.onnx").read_bytes()).run
    assert len(fitted.estimators_) == 100
    assert max(tree.get_depth() for tree in fitted.estimators_) == 10
    for payment in payments[:20]:
        rows = np.array(payment.rows, dtype=np.float32)
        assert rows.shape == (CANDIDATES, FEATURES)
        assert fitted.predict_proba(rows)[:, 1] == pytest.approx(payment.expected, abs=1e-7)
        assert run(["probabilities"], {"rows": rows})[0][:, 1] == pytest.approx(payment.expected, abs=1e-5)


def test_payments_differ_and_the_forest_tells_them_apart(forest):
    _, payments = forest
    assert len({json.dumps(payment.rows) for payment in payments}) == len(payments)
    assert np.std([payment.expected for payment in payments]) > 0.1


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_asked_about_the_same_numbers(peer, forest):
    payment = forest[1][3]
    numbers = sorted(_numbers(json.loads(json.dumps(peer.body(payment)))))
    kept = {column for columns in STATE.values() for column in columns} if "redis" in peer.environment else set()
    sent = [0.0 if column in kept else value for row in payment.rows for column, value in enumerate(row)]
    extra = [CANDIDATES, FEATURES] if "mlserver" in peer.environment else []
    assert numbers == sorted([*sent, *extra])


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_its_requirements(peer):
    assert (environments.REQUIREMENTS / f"{peer.environment}.in").read_text().strip()
    assert len({each.name for each in PEERS}) == len(PEERS)


def test_the_servers_are_python():
    for path in SERVERS.glob("*.py"):
        compile(path.read_text(), str(path), "exec")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "HOME", tmp_path / "peers")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "it.in").write_text("something\n")
    return tmp_path


def test_an_environment_is_made_once_and_again_when_it_is_asked_for_something_else(home, monkeypatch):
    made = []
    monkeypatch.setattr(
        environments, "_commands", lambda folder: [[sys.executable, "-c", f"open({str(folder / 'it')!r}, 'w')"]]
    )
    monkeypatch.setattr(environments, "_run", lambda command, log: made.append(command))
    programs = environments.built("it")
    assert programs == (home / "peers" / "it" / "venv" / "bin").absolute()
    environments.built("it")
    assert len(made) == 1
    (home / "it.in").write_text("something else\n")
    environments.built("it")
    assert len(made) == 2


def test_what_cannot_be_installed_says_why_and_is_tried_again(home, monkeypatch):
    script = "import sys; print('reading'); print('ERROR: no such package'); sys.exit(1)"
    monkeypatch.setattr(environments, "_commands", lambda folder: [[sys.executable, "-c", script]])
    for _ in range(2):
        with pytest.raises(environments.NotInstalled, match="ERROR: no such package"):
            environments.built("it")


def test_what_takes_too_long_is_given_up(home, monkeypatch):
    monkeypatch.setattr(environments, "BUILD_SECONDS", 0.2)
    monkeypatch.setattr(
        environments, "_commands", lambda folder: [[sys.executable, "-c", "import time; time.sleep(30)"]]
    )
    with pytest.raises(environments.NotInstalled, match="longer than"):
        environments.built("it")


def test_a_peer_without_an_environment_is_named_and_the_others_go_on(monkeypatch):
    def built(name):
        if name == PEERS[1].environment:
            msg = "it is not to be had"
            raise environments.NotInstalled(msg)
        return SERVERS

    monkeypatch.setattr(measure, "built", built)
    programs, absent = measure.environments(PEERS)
    assert absent == [Absent(name=PEERS[1].name, why="it is not to be had")]
    assert set(programs) == {peer.name for peer in PEERS} - {PEERS[1].name}


class Answering:
    """Stands in for `urlopen`: answers with these probabilities."""

    def __init__(self, probabilities):
        self.probabilities = probabilities

    def __call__(self, _request, timeout):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self):
        return json.dumps({"probabilities": self.probabilities})


def test_a_peer_is_held_to_the_forest(forest, monkeypatch):
    payment = forest[1][0]
    monkeypatch.setattr(measure, "urlopen", Answering(payment.expected))
    measure._check(FIRST, "http://127.0.0.1:1", payment)
    for wrong in ([each + 1e-4 for each in payment.expected], payment.expected[:-1]):
        monkeypatch.setattr(measure, "urlopen", Answering(wrong))
        with pytest.raises(WrongAnswer, match="expected"):
            measure._check(FIRST, "http://127.0.0.1:1", payment)


def result(name, rates, **more):
    latency = Latency(p50=1.0, p95=2.0, p99=3.0, p999=4.0)
    row = Row(
        phase="closed",
        target=name,
        requests=100,
        per_second=rates[0],
        latency_ms=latency,
        by_kind={},
        errors=more.get("errors", {}),
        degraded={},
        server_us=100.0,
    )
    return Result(
        name=name, does="work", runs=("thing 1.0",), row=row, rates=rates, mib=100.0, processes=2, ready_seconds=1.0
    )


@pytest.fixture
def report():
    return Report(
        machine=Machine(processor="CPU", cores=2, system="Linux", python="CPython", load_before=0.1),
        connections=8,
        seconds=4.0,
        rounds=3,
        results=(
            result("Slow", (300.0, 310.0, 290.0)),
            result("Pointsman, `redis://`", (9_000.0, 9_500.0, 8_000.0)),
            result("Broken", (1.0,), errors={"status 500": 5}),
        ),
        absent=(Absent(name="Gone", why="no such package"),),
        idle=0.013,
        at=datetime(2026, 11, 24, tzinfo=UTC),
    )


def test_the_table_is_ranked_by_the_median_and_names_who_is_missing(report):
    lines = rendered(report).splitlines()
    names = [line.split(" | ")[0].strip("| *") for line in lines if line.startswith("| ") and "work" in line]
    assert names == ["Pointsman, `redis://`", "Slow", "Broken"]
    text = "\n".join(lines)
    assert "9,000 (8,000 to 9,500)" in text
    assert "- Not measured: Gone: no such package" in text
    assert "Pointsman does more of it" in text
    assert "used 1.3% of the core" in text
    assert "thing 1.0" in text
    assert "2026-11-24" in text


def test_the_picture_is_drawn_and_small(report, tmp_path):
    plot(report, tmp_path / "images" / "peers.png")
    picture = (tmp_path / "images" / "peers.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


def test_runs_are_bounded(capsys):
    for argument in (["--seconds", "100"], ["--rounds", "0"], ["--connections", "10000"]):
        assert command.main(argument) == 2
    assert capsys.readouterr().err.count("expected --") == 3
