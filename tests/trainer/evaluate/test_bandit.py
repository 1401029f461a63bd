"""Open Bandit files: read, judged, and known truths found on real logs where they are at hand."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end.shared import data
from trainer.__main__ import main
from trainer.errors import EvaluateError
from trainer.evaluate.bandit import read_bandit
from trainer.evaluate.evaluating import Options, evaluate

HEAD = ",timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0"
ROWS = (
    "0,2019-11-24 00:01:00+00:00,7,1,0,0.5,u1,0.0",
    "1,2019-11-24 00:01:00+00:00,9,2,1,0.25,u1,0.0",
    "2,2019-11-24 00:02:00+00:00,11,1,1,0.5,u2,0.0",
)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    bandit = read_bandit(written(tmp_path, HEAD, *ROWS))
    log = bandit.log
    assert log.actions == ("7", "9", "11")
    assert log.taken.tolist() == [0, 1, 2]
    assert log.propensity.tolist() == [0.5, 0.25, 0.5]
    assert log.reward.tolist() == [0.0, 1.0, 1.0]
    # Shown at one moment to one visitor.
    assert log.payment[0] == log.payment[1] != log.payment[2]
    # The items of a position are its candidates.
    assert log.offered.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert bandit.context.columns == ["position", "user_feature_0"]


def test_a_gzipped_file_is_read_alike(tmp_path: Path) -> None:
    plain = read_bandit(written(tmp_path, HEAD, *ROWS))
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress((tmp_path / "log.csv").read_bytes()))
    packed = read_bandit(path)
    assert packed.log.taken.tolist() == plain.log.taken.tolist()
    assert packed.log.propensity.tolist() == plain.log.propensity.tolist()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((HEAD.replace("click", "clicks"), *ROWS), "click missing"),
        ((HEAD,), "to have rows with timestamp in each"),
        ((HEAD, "0,2019-11-24 00:01:00+00:00,7,1,,0.5,u1,0.0"), "to have rows with click in each"),
        ((HEAD, "0,2019-11-24 00:01:00+00:00,7,1,2,0.5,u1,0.0"), "every click"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(EvaluateError, match=said):
        read_bandit(written(tmp_path, *lines))


def test_a_file_that_is_not_there_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--bandit", str(tmp_path / "none.csv")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  ")]
    assert len(said) == 1
    assert "cannot be read as a CSV of logged recommendations" in said[0]


def test_a_margin_or_a_bundle_cannot_be_judged_by_recommendations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(written(tmp_path, HEAD, *ROWS))
    assert main(["evaluate", "--bandit", path, "--reward", "margin"]) == 2
    assert "logged recommendations have no fees" in capsys.readouterr().err
    with pytest.raises(EvaluateError, match="it holds no payments"):
        evaluate(Options(bandits=(Path(path),), policies=("logged", "bundle:active")))
    assert main(["evaluate", "--bandit", path, "--policy", "bundle:none"]) == 2


def drawn(folder: Path, rows: int, seed: int) -> tuple[Path, float]:
    """Write recommendations of a router that prefers its first items; return the file and what chance is worth."""
    chance = np.random.default_rng(seed)
    odds = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    rates = np.array([0.02, 0.05, 0.10, 0.20, 0.40])
    items = chance.choice(5, rows, p=odds)
    clicks = chance.random(rows) < rates[items]
    lines = [
        f"{row},2019-11-24 {row // 3600:02}:{row // 60 % 60:02}:{row % 60:02}+00:00,{item},1,{int(click)},{odds[item]},u,0"
        for row, (item, click) in enumerate(zip(items, clicks, strict=True))
    ]
    return written(folder, HEAD, *lines), float(rates.mean())


def test_the_value_of_chance_is_found_in_the_log_of_another_policy(tmp_path: Path) -> None:
    path, known = drawn(tmp_path, 20_000, 0)
    (values,) = evaluate(Options(bandits=(path,), policies=("logged", "uniform"))).values
    logged, uniform = values.estimates
    assert logged.snips.value < 0.08
    assert uniform.conclusive
    assert uniform.doubly_robust is not None
    for metric in (uniform.snips, uniform.ips, uniform.doubly_robust):
        assert metric.low <= known <= metric.high
        assert metric.value == pytest.approx(known, abs=0.02)
    assert uniform.reading == "uniform would have been clicked more than whoever decided"


@pytest.mark.real_data
def test_men_the_uniform_policy_is_estimated_from_the_log_of_the_other_and_the_truth_lies_in_the_interval() -> None:
    truth, logged = data("open_bandit/random_men.csv.gz"), data("open_bandit/bts_men.csv.gz")
    known, found = evaluate(Options(bandits=(truth, logged), policies=("logged", "uniform"))).values
    true = known.estimates[0].logged.value
    assert true == pytest.approx(0.0046)
    uniform = found.estimates[1]
    assert uniform.snips.value == pytest.approx(0.0032, abs=0.00005)
    assert uniform.snips.low <= true <= uniform.snips.high
    assert uniform.conclusive
    assert uniform.effective == pytest.approx(655.7, abs=0.1)
    assert uniform.doubly_robust is not None
    assert uniform.doubly_robust.low <= true <= uniform.doubly_robust.high


@pytest.mark.real_data
def test_women_it_is_said_that_nothing_can_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    path = data("open_bandit/bts_women.csv.gz")
    assert main(["evaluate", "--bandit", str(path), "--policy", "uniform"]) == 0
    assert "uniform: no conclusion: the effective sample size is 2, under 100" in capsys.readouterr().out
    (values,) = evaluate(Options(bandits=(path,), policies=("uniform",))).values
    assert values.estimates[0].effective == pytest.approx(2.08, abs=0.01)
    assert values.estimates[0].snips.high > 0.5
