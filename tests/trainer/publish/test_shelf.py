"""The shelf: a bundle is there whole or not at all, is never changed, and every activation can be taken back."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from contracts.activation import Activation
from contracts.bundle import FORMAT, DataWindow, Evaluation, Manifest, Metric, ModelEntry
from service.policy.defaults import default_parameters
from trainer.__main__ import main
from trainer.errors import BundleError
from trainer.publish import shelf

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
GRAPH = b"a graph" * 1000


def manifest(version: str, graph: bytes = GRAPH) -> Manifest:
    """Return a manifest of one trained model and three priors."""
    even = Metric(value=0.7, low=0.6, high=0.8)
    judged = Evaluation(
        rows=10, positives=5, metrics=dict.fromkeys(("auc", "average_precision", "log_loss", "brier", "ece"), even)
    )
    trained = ModelEntry(
        algorithm="a",
        inputs=(),
        prior=0.8,
        file="approval.onnx",
        sha256=shelf.sha256(graph),
        evaluation=judged,
        baselines={"base rate": judged},
    )
    prior = ModelEntry(algorithm="a", inputs=(), prior=0.1, untrained_because="there was nothing")
    return Manifest(
        format=FORMAT,
        version=version,
        created_at=MOMENT,
        feature_fingerprint="f",
        features=(),
        encodings={},
        models={"approval": trained, "risk": prior, "routing": prior, "retry": prior},
        processors={},
        priors={},
        policy=default_parameters(),
        data=DataWindow(first=MOMENT, last=MOMENT, attempts=1, payments=1, train_until=MOMENT, test_from=MOMENT),
        notes=("a note",),
    )


def put(folder: Path, *versions: str, activate: bool = True) -> None:
    for version in versions:
        shelf.publish(folder, manifest(version), {"approval.onnx": GRAPH})
        if activate:
            shelf.activate(folder, version)


def test_a_published_bundle_reads_back_as_it_was(tmp_path: Path) -> None:
    folder = shelf.publish(tmp_path / "new" / "shelf", manifest("v1"), {"approval.onnx": GRAPH, "card.html": b"card"})
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "approval.onnx", "card.html"}
    assert shelf.verify(folder.parent, "v1") == manifest("v1")
    assert shelf.versions(folder.parent) == ["v1"]
    assert shelf.active(folder.parent) is None


def test_a_bundle_is_never_overwritten(tmp_path: Path) -> None:
    put(tmp_path, "v1")
    with pytest.raises(BundleError, match="never overwritten"):
        shelf.publish(tmp_path, manifest("v1", b"other"), {"approval.onnx": b"other"})
    assert (tmp_path / "v1" / "approval.onnx").read_bytes() == GRAPH


def test_a_failure_while_publishing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        shelf.publish(tmp_path, manifest("v1"), {"approval.onnx": GRAPH, "no/such/folder": b""})
    assert list(tmp_path.iterdir()) == []


PUBLISH = """
    import sys, time
    from pathlib import Path
    from tests.trainer.publish.test_shelf import GRAPH, manifest
    from trainer.publish import shelf
    honest = shelf._write
    def slow(path, content):
        honest(path, content)
        print(path.name, flush=True)
        time.sleep(30 if path.name == sys.argv[2] else 0)
    shelf._write = slow
    shelf.publish(Path(sys.argv[1]), manifest("v2"), {"approval.onnx": GRAPH, "card.html": b"card"})
    shelf.activate(Path(sys.argv[1]), "v2")
"""


@pytest.mark.parametrize("after", ["approval.onnx", "card.html", "manifest.json"])
def test_killed_while_publishing_no_version_is_visible_and_the_next_attempt_succeeds(
    tmp_path: Path, after: str
) -> None:
    put(tmp_path, "v1")
    child = kill_after(tmp_path, after)
    assert shelf.versions(tmp_path) == ["v1"]
    assert shelf.active(tmp_path) == "v1"
    assert main(["bundle", "list", "--bundles", str(tmp_path)]) == 0
    # What the dead left is there still, even under this process's own number, and in nobody's way.
    (tmp_path / f".v2.{child}").rename(tmp_path / f".v2.{os.getpid()}")
    put(tmp_path, "v2")
    assert shelf.active(tmp_path) == "v2"


def kill_after(folder: Path, file: str) -> int:
    """Publish and activate v2 in a child, kill it hard once it has written `file`; return its number."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PUBLISH), str(folder), file],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == file:
            break
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=10)
    child.stdout.close()
    return child.pid


def test_killed_while_activating_the_old_one_stays_active_and_can_be_activated_past(tmp_path: Path) -> None:
    put(tmp_path, "v0", "v1")
    # As if killed between remembering the activation and putting the name in its place.
    put(tmp_path, "v2", activate=False)
    line = msgspec.json.encode(Activation(version="v2", at=MOMENT, act="activate")) + b"\n"
    with (tmp_path / shelf.ACTIVATIONS).open("ab") as file:
        file.write(line)
    assert shelf.active(tmp_path) == "v1"
    assert shelf.rollback(tmp_path) == "v1"
    assert shelf.rollback(tmp_path) == "v0"


def test_the_active_file_is_replaced_and_never_seen_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "v1", "v2", activate=False)
    shelf.activate(tmp_path, "v1")
    before = (tmp_path / shelf.ACTIVE).stat().st_ino
    seen = []
    honest = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append((self.read_text(), (tmp_path / shelf.ACTIVE).read_text()))
        return honest(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    shelf.activate(tmp_path, "v2")
    assert seen == [("v2\n", "v1\n")]
    assert (tmp_path / shelf.ACTIVE).stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_altered_or_missing_file_keeps_a_bundle_from_being_activated(tmp_path: Path) -> None:
    put(tmp_path, "v1")
    put(tmp_path, "v2", "v3", activate=False)
    graph = tmp_path / "v2" / "approval.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"X")
    with pytest.raises(BundleError, match=r"approval\.onnx is not the file that was published"):
        shelf.activate(tmp_path, "v2")
    (tmp_path / "v3" / "approval.onnx").unlink()
    with pytest.raises(BundleError, match=r"the file of the approval model, approval\.onnx, is missing"):
        shelf.activate(tmp_path, "v3")
    (tmp_path / "v3" / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="manifest of bundle v3 cannot be read"):
        shelf.activate(tmp_path, "v3")
    assert shelf.active(tmp_path) == "v1"
    assert [activation.version for activation in shelf.activations(tmp_path)] == ["v1"]


def test_several_rollbacks_in_a_row_go_further_back_each_time(tmp_path: Path) -> None:
    put(tmp_path, "v1", "v2", "v3")
    shelf.activate(tmp_path, "v3")
    assert [shelf.rollback(tmp_path), shelf.rollback(tmp_path)] == ["v2", "v1"]
    assert shelf.active(tmp_path) == "v1"
    with pytest.raises(BundleError, match="no earlier activation"):
        shelf.rollback(tmp_path)
    shelf.activate(tmp_path, "v3")
    assert shelf.rollback(tmp_path) == "v1"
    acts = [(activation.version, activation.act) for activation in shelf.activations(tmp_path)]
    assert acts[-1] == ("v1", "rollback")
    assert len(acts) == 8


def test_a_rollback_to_a_bundle_that_was_altered_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "v1", "v2")
    (tmp_path / "v1" / "approval.onnx").write_bytes(b"altered")
    with pytest.raises(BundleError, match="is not the file"):
        shelf.rollback(tmp_path)
    assert shelf.active(tmp_path) == "v2"


def test_a_line_of_the_log_that_a_crash_tore_costs_that_line_alone(tmp_path: Path) -> None:
    put(tmp_path, "v1", "v2")
    with (tmp_path / shelf.ACTIVATIONS).open("ab") as file:
        file.write(b'{"version":"v')
    put(tmp_path, "v3")
    assert [activation.version for activation in shelf.activations(tmp_path)] == ["v1", "v2", "v3"]
    assert shelf.rollback(tmp_path) == "v2"


def test_the_shelf_says_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="bundles cannot be written to"):
        shelf.prepare(tmp_path / "file")
    put(tmp_path / "shelf", "v1")
    (tmp_path / "shelf" / shelf.ACTIVATIONS).unlink()
    (tmp_path / "shelf" / shelf.ACTIVATIONS).mkdir()
    with pytest.raises(BundleError, match="bundle v1 cannot be activated in"):
        shelf.activate(tmp_path / "shelf", "v1")


def test_the_commands_do_what_they_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "v1", "v2", activate=False)

    def said(*told: str) -> str:
        assert main(["bundle", *told, "--bundles", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert said("activate", "v1") == "active: v1\n"
    assert said("activate") == "active: v2\n"
    assert said("list").splitlines()[1].startswith("* v2 ")
    assert said("list").splitlines()[0].startswith("  v1 ")
    assert said("rollback") == "active: v1\n"
    shown = said("show")
    assert shown.startswith("bundle v1, made 2026-01-01 00:00 UTC")
    for words in (
        "approval  model",
        "approval  base rate",
        "AUC 0.700 [0.600, 0.800]",
        "risk      prior 0.1",
        "note",
    ):
        assert words in shown
    assert said("show", "v2").startswith("bundle v2")


def test_a_manifest_of_before_this_version_is_read(tmp_path: Path) -> None:
    put(tmp_path, "v1")
    path = tmp_path / "v1" / "manifest.json"
    raw = json.loads(path.read_text())
    for entry in raw["models"].values():
        entry.pop("policy_value", None)
        entry["calibration"] = {"method": "platt", "slope": 1.2, "offset": 0.1, "rows": 500}
    path.write_text(json.dumps(raw))
    scaling = shelf.read(tmp_path, "v1").models["approval"].calibration
    assert scaling is not None
    assert (scaling.method, scaling.slope) == ("platt", 1.2)
