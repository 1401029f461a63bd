"""The floor with ONNX is one only if it makes the runs that a decision makes."""

from itertools import islice

import msgspec
import numpy as np
import pytest

from benchmarks import floor, recorded
from benchmarks.questions import bodies
from contracts.decision import Decision, RetryDecision
from contracts.payment import AuthRequest, RetryRequest
from service.http.wire import JSON
from service.models.active import POINTER


@pytest.fixture(scope="module")
def record(bundle_shelf, tmp_path_factory):
    return recorded.record(bundle_shelf, tmp_path_factory.mktemp("recorded") / "record")


def test_every_question_is_recorded_with_its_runs_and_its_answer(record):
    for kind, form in (("auth", Decision), ("retry", RetryDecision)):
        exchanges = record.exchanges[kind]
        assert len(exchanges) == recorded.QUESTIONS
        answers = [msgspec.json.decode(each.answer, type=form) for each in exchanges]
        assert len({answer.payment_id for answer in answers}) == recorded.QUESTIONS
        assert all(answer.degraded == () for answer in answers)
    # Approval and risk at the least; a retry that a rule forbids asks no model.
    assert all(len(each.runs) >= 2 for each in record.exchanges["auth"])
    assert record.runs_per_question("retry") > 0


def test_the_graphs_are_those_of_the_active_bundle(record, bundle_shelf):
    folder = bundle_shelf / (bundle_shelf / POINTER).read_text().strip()
    shipped = {path.read_bytes() for path in folder.glob("*.onnx")}
    used = {record.graphs[run.graph] for each in record.exchanges["auth"] for run in each.runs}
    assert used <= shipped
    assert len(used) == 2


def test_the_floor_runs_what_was_recorded_in_order(record, monkeypatch):
    ran = []

    class Session:
        def __init__(self, graph):
            self.graph = graph

        def run(self, outputs, inputs):
            ran.append((self.graph, outputs, {name: (rows.shape, rows.tobytes()) for name, rows in inputs.items()}))

    monkeypatch.setattr(floor, "_session", Session)
    ask = floor.answers(record, "auth", models=True)
    exchanges = record.exchanges["auth"][:2]
    got = [ask(), ask()]
    assert got == [msgspec.json.decode(each.answer, type=Decision) for each in exchanges]
    assert ran == [
        (
            record.graphs[run.graph],
            list(run.outputs),
            {name: (rows.shape, rows.data) for name, rows in run.inputs.items()},
        )
        for each in exchanges
        for run in each.runs
    ]


def test_the_floor_without_models_opens_none(record, monkeypatch):
    monkeypatch.setattr(floor, "_session", None)
    answer = floor.answers(record, "retry", models=False)()
    assert answer == msgspec.json.decode(record.exchanges["retry"][0].answer, type=RetryDecision)


def test_rows_come_back_as_arrays_of_their_own():
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    back = recorded.Rows(rows.shape, rows.dtype.str, rows.tobytes()).array()
    assert back.dtype == np.float32
    assert back.flags.writeable
    assert (back == rows).all()


def test_a_recording_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="failed"):
        recorded.record(tmp_path / "no shelf", tmp_path / "record")


@pytest.mark.parametrize(("kind", "form"), [("auth", AuthRequest), ("retry", RetryRequest)])
def test_bodies_are_questions_of_one_length_about_different_payments(kind, form):
    made = list(islice(bodies(kind, "b"), 300))
    assert len({len(body) for body in made}) == 1
    assert not any(JSON.suspicious(body) for body in made)
    assert len({msgspec.json.decode(body, type=form).payment_id for body in made}) == 300
