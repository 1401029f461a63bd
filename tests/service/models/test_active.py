"""Bundles that are damaged, altered or foreign: refused with the reason, while the last good one goes on answering."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.bundle import Manifest
from features.catalog import FINGERPRINT, POSITION
from service.errors import BundleRefused, NotReady
from service.models import active
from service.models.active import ActiveBundles
from service.models.bundle import MANIFEST, load
from tests.parts import RULES, activate, add_bundle, read_manifest, with_model, write_manifest

Damage = Callable[[Path], None]


@pytest.fixture
def shelf(bundle_shelf: Path, tmp_path: Path) -> Path:
    """A shelf with the active bundle ``good``, and ``next`` beside it for a test to damage."""
    shelf = tmp_path / "shelf"
    add_bundle(shelf, bundle_shelf, "good")
    add_bundle(shelf, bundle_shelf, "next")
    activate(shelf, "good")
    return shelf


def change(how: Callable[[Manifest], Manifest]) -> Damage:
    return lambda folder: write_manifest(folder, how(read_manifest(folder)))


def fields(**changes: Any) -> Damage:
    return change(lambda manifest: msgspec.structs.replace(manifest, **changes))


def model(name: str, **changes: Any) -> Damage:
    return change(lambda manifest: with_model(manifest, name, **changes))


def graph(name: str, content: Callable[[bytes], bytes], *, signed: bool = False) -> Damage:
    """Put other bytes in place of a graph; `signed` puts their checksum into the manifest as well."""

    def damage(folder: Path) -> None:
        path = folder / f"{name}.onnx"
        path.write_bytes(content(path.read_bytes()))
        if signed:
            model(name, sha256=hashlib.sha256(path.read_bytes()).hexdigest())(folder)

    return damage


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def raw(content: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / MANIFEST).write_bytes(content((folder / MANIFEST).read_bytes()))

    return damage


def other_graph(folder: Path) -> None:
    """Give approval the graph of routing, signed: it opens, takes as many inputs and answers something else."""
    shutil.copy(folder / "routing.onnx", folder / "approval.onnx")
    manifest = read_manifest(folder)
    inputs, rows = manifest.models["routing"].inputs, manifest.models["routing"].golden_rows
    digest = manifest.models["routing"].sha256
    write_manifest(folder, with_model(manifest, "approval", sha256=digest, inputs=inputs, golden_rows=rows))


def off_golden(manifest: Manifest) -> Manifest:
    first, *others = manifest.models["risk"].golden_expected
    return with_model(manifest, "risk", golden_expected=(first + 0.001, *others))


def fewer_golden(manifest: Manifest) -> Manifest:
    return with_model(manifest, "risk", golden_expected=manifest.models["risk"].golden_expected[1:])


def ragged_golden(manifest: Manifest) -> Manifest:
    first, *others = manifest.models["risk"].golden_rows
    return with_model(manifest, "risk", golden_rows=(first[1:], *others))


def unknown_group(manifest: Manifest) -> Manifest:
    told = manifest.models["approval"].attribution
    assert told is not None
    return with_model(
        manifest, "approval", attribution=msgspec.structs.replace(told, groups=("weather", *told.groups[1:]))
    )


def too_few_groups(manifest: Manifest) -> Manifest:
    told = manifest.models["approval"].attribution
    assert told is not None
    return with_model(manifest, "approval", attribution=msgspec.structs.replace(told, groups=told.groups[1:]))


def late_input(manifest: Manifest) -> Manifest:
    wait = "wait_seconds" if "wait_seconds" in POSITION else manifest.features[-1]
    return with_model(manifest, "approval", inputs=(*manifest.models["approval"].inputs[:-1], wait))


def no_routing(manifest: Manifest) -> Manifest:
    models = {name: entry for name, entry in manifest.models.items() if name != "routing"}
    return msgspec.structs.replace(manifest, models=models)


def one_encoding_less(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, encodings=dict(list(manifest.encodings.items())[1:]))


def impossible_policy(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, exploration=1.5))


def impossible_prior(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, priors={**manifest.priors, "approval": {"atlas|visa": -0.5}})


def folder_for_file(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def link_to_itself(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a truncated graph": (graph("approval", lambda b: b[: len(b) // 2]), "approval.onnx was altered: expected sha256"),
    "an emptied graph": (graph("retry", lambda b: b""), "retry.onnx was altered"),
    "a graph with one bit turned": (graph("risk", flip), "risk.onnx was altered"),
    "a truncated graph that is signed": (
        graph("approval", lambda b: b[: len(b) // 2], signed=True),
        "the approval model cannot be opened",
    ),
    "a graph that is no graph": (graph("risk", lambda b: b"no graph", signed=True), "the risk model cannot be opened"),
    "the graph of another model": (other_graph, "the approval model is "),
    "a missing graph": (lambda folder: (folder / "routing.onnx").unlink(), "routing.onnx cannot be read: No such file"),
    "a graph that is a folder": (folder_for_file("routing.onnx"), "routing.onnx cannot be read: Is a directory"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "manifest.json cannot be read: No such file"),
    "a truncated manifest": (raw(lambda b: b[: len(b) // 2]), "manifest.json is not a manifest"),
    "an empty manifest": (raw(lambda b: b""), "manifest.json is not a manifest"),
    "a manifest of another shape": (raw(lambda b: b'{"format": 1}'), "Object missing required field"),
    "a manifest that is not UTF-8": (raw(lambda b: b.replace(b'"next"', b'"\xff\xfe"')), "is not a manifest: 'utf-8'"),
    "an unreadable folder": (link_to_itself, "manifest.json cannot be read: Too many levels of symbolic links"),
    "a file in place of the folder": (file_for_folder, "manifest.json cannot be read: Not a directory"),
    "no folder": (shutil.rmtree, "manifest.json cannot be read: No such file"),
    "another format": (fields(format=2), "expected format 1, got 2"),
    "another fingerprint": (
        fields(feature_fingerprint="0" * 16),
        f"features {'0' * 16}, this service has {FINGERPRINT}",
    ),
    "features in another order": (
        change(lambda m: msgspec.structs.replace(m, features=(*m.features[1:], m.features[0]))),
        "its feature names are not those of the catalog, in order",
    ),
    "another version": (fields(version="other"), "its manifest is that of version 'other'"),
    "a model less": (change(no_routing), "expected four models, routing missing"),
    "an encoding less": (change(one_encoding_less), "expected an encoding for every prior feature"),
    "an unknown input": (model("risk", inputs=("shoe_size",)), "the risk model wants shoe_size"),
    "an input known only to a retry": (change(late_input), "which is no feature it can have"),
    "no checksum": (model("risk", sha256=None), "risk.onnx was altered: expected sha256 None"),
    "golden rows that do not match": (change(off_golden), "the risk model is 1.00e-03 off on its golden rows"),
    "golden answers too few": (change(fewer_golden), "expected golden rows of the risk model and as many answers"),
    "an unknown group": (change(unknown_group), "tells of weather, which is no group of features"),
    "too few groups": (change(too_few_groups), "groups, its moves have the shape"),
    "golden rows too short": (change(ragged_golden), "the risk model cannot be opened"),
    "no golden rows": (model("risk", golden_rows=(), golden_expected=()), "expected golden rows of the risk model"),
    "a policy that cannot be": (change(impossible_policy), "exploration"),
    "a prior that is none": (change(impossible_prior), "expected priors of 0 to 1, approval of atlas|visa has -0.5"),
    "a model's prior that is none": (model("risk", prior=5.0), "expected priors of 0 to 1, risk has 5"),
    "a path out of the folder": (model("risk", file="../good/risk.onnx"), "expected a file of its own for the risk"),
    "a path from the root": (model("risk", file="/etc/hostname"), "expected a file of its own for the risk model"),
    "a path that is the parent": (model("risk", file=".."), "cannot be read"),
    "a path that is nothing": (model("risk", file=""), "cannot be read"),
    "a path with a null": (model("risk", file="risk.onnx\0"), "expected a file of its own for the risk model"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_bundle_is_refused_with_the_reason_until_it_is_repaired(
    name: str, shelf: Path, bundle_shelf: Path
) -> None:
    damage, reason = DAMAGES[name]

    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        good = bundles.current
        damage(shelf / "next")
        activate(shelf, "next")
        for _ in range(2):
            await bundles.refresh()
            assert bundles.failing is not None
            assert str(shelf / "next") in bundles.failing
            assert reason in bundles.failing
            assert bundles.current is good
        folder = shelf / "next"
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
        add_bundle(shelf, bundle_shelf, "next")
        await bundles.refresh()
        assert (bundles.failing, bundles.current.manifest.version) == (None, "next")

    asyncio.run(story())


def test_a_refused_bundle_is_not_loaded_again_while_nothing_changes(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(folder: Path, *rest: Any) -> Any:
        loaded.append(folder.name)
        return load(folder, *rest)

    monkeypatch.setattr(active, "load", counted)

    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        graph("risk", flip)(shelf / "next")
        activate(shelf, "next")
        for _ in range(5):
            await bundles.refresh()
        assert loaded == ["good", "next"]

    asyncio.run(story())


def test_a_repair_that_brings_back_the_old_times_is_seen(shelf: Path) -> None:
    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        graph_file = shelf / "next" / "risk.onnx"
        whole, before = graph_file.read_bytes(), graph_file.stat()
        graph("risk", flip)(shelf / "next")
        os.utime(graph_file, ns=(before.st_atime_ns, before.st_mtime_ns))
        activate(shelf, "next")
        await bundles.refresh()
        assert bundles.active is None
        graph_file.write_bytes(whole)
        os.utime(graph_file, ns=(before.st_atime_ns, before.st_mtime_ns))
        await bundles.refresh()
        assert (bundles.failing, bundles.current.manifest.version) == (None, "next")

    asyncio.run(story())


def test_what_could_not_be_read_is_tried_at_every_look(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that can be seen changes when a disk answers again."""
    answers = [OSError(5, "Input/output error"), None]

    def flaky(folder: Path, *rest: Any) -> Any:
        if (error := answers.pop(0)) is not None:
            raise BundleRefused(str(folder), "the disk failed") from error
        return load(folder, *rest)

    monkeypatch.setattr(active, "load", flaky)

    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        assert (bundles.active, bundles.failing) == (None, f"bundle {shelf}/good is refused: the disk failed")
        await bundles.refresh()
        assert bundles.failing is None

    asyncio.run(story())


def test_a_bug_in_loading_is_raised_once_and_not_hidden_from_who_asks(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        monkeypatch.setattr(active, "load", lambda *_: 1 / 0)
        activate(shelf, "next")
        with pytest.raises(ZeroDivisionError):
            await bundles.refresh()
        await bundles.refresh()
        assert bundles.failing == f"bundle {shelf}/next could not be loaded: ZeroDivisionError"
        assert bundles.current.manifest.version == "good"

    asyncio.run(story())


@pytest.mark.parametrize(
    "pointer", ["../good", "shelf/good", "/etc", "..", ".", ".good", "", "x" * 300, "a\0b", "a\nb"]
)
def test_a_pointer_out_of_the_shelf_is_refused(pointer: str, shelf: Path) -> None:
    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        activate(shelf, pointer)
        await bundles.refresh()
        assert bundles.failing == f"the pointer {shelf}/active does not name a bundle of its shelf"
        assert bundles.current.manifest.version == "good"
        activate(shelf, "good")
        await bundles.refresh()
        assert bundles.failing is None

    asyncio.run(story())


def test_a_pointer_that_is_gone_or_unreadable_leaves_the_bundle_and_is_told(shelf: Path) -> None:
    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        (shelf / "active").unlink()
        await bundles.refresh()
        assert bundles.failing == f"no bundle has been activated in {shelf}"
        (shelf / "active").write_bytes(b"\xff\xfe")
        await bundles.refresh()
        assert bundles.failing == f"the pointer {shelf}/active cannot be read: UnicodeDecodeError"
        assert bundles.current.manifest.version == "good"

    asyncio.run(story())


def test_before_the_first_bundle_a_question_finds_out_why(tmp_path: Path) -> None:
    bundles = ActiveBundles(tmp_path, RULES)
    with pytest.raises(NotReady, match="no bundle has been activated"):
        _ = bundles.current


def test_going_back_to_the_old_bundle_clears_the_complaint(shelf: Path) -> None:
    async def story() -> None:
        bundles = ActiveBundles(shelf, RULES)
        await bundles.refresh()
        good = bundles.current
        graph("risk", flip)(shelf / "next")
        activate(shelf, "next")
        await bundles.refresh()
        complaint = bundles.failing
        activate(shelf, "good")
        await bundles.refresh()
        assert (complaint is None, bundles.failing) == (False, None)
        assert bundles.current is good

    asyncio.run(story())


def test_loading_refuses_with_path_and_reason(shelf: Path) -> None:
    fields(format=7)(shelf / "next")
    with pytest.raises(BundleRefused) as refused:
        load(shelf / "next", RULES)
    assert (refused.value.path, refused.value.reason) == (str(shelf / "next"), "expected format 1, got 7")
