"""The command over a simulated history whose truth is known: what is said of a bundle and of policies, and what is refused."""

import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest

from tests.end_to_end.shared import MAPPINGS, data
from tests.trainer.fit.conftest import Made
from trainer import history as canonical
from trainer.__main__ import main
from trainer.evaluate import scores
from trainer.evaluate.attempts import Attempts, attempts
from trainer.evaluate.bundle import open_bundle
from trainer.evaluate.estimate import Estimate
from trainer.evaluate.evaluating import Options, evaluate
from trainer.evaluate.report import Report
from trainer.evaluate.service_policy import asked_of
from trainer.publish import shelf
from trainer.simulate import batch
from trainer.simulate.facts import FEES, PROCESSORS

LATE = datetime(2030, 1, 1, tzinfo=UTC)


class World(NamedTuple):
    """Payments and the probability with which each processor would have approved their first attempts."""

    history: Path
    truth: pl.DataFrame
    fees: Path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A simulated shop in one currency, without chargebacks: what a payment earns is known to the minor unit."""
    folder = tmp_path_factory.mktemp("shop")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    batch.simulate(
        batch.Plan(payments=40_000, days=30, start=start, seed=5, merchants=20, cards=6_000), folder / "simulated"
    )
    history = pl.read_parquet(folder / "simulated" / "history" / "*.parquet")
    euro = history.filter(pl.col("currency") == "EUR").with_columns(
        chargeback_at=pl.lit(None, history.schema["chargeback_at"])
    )
    (folder / "history").mkdir()
    euro.write_parquet(folder / "history" / "part.parquet")
    truth = pl.read_parquet(folder / "simulated" / "truth" / "*.parquet").filter(pl.col("attempt") == 1)
    return World(folder / "history", truth, folder / "simulated" / "fees.toml")


def known(shop: World, asked: Attempts, reward: str) -> np.ndarray:
    """What each first attempt through each processor is truly worth, on average."""
    frame = asked.frame.join(shop.truth, on=["payment_id", "attempt"], how="left", maintain_order="left")
    p = frame.select(f"p_{name}" for name in asked.processors).to_numpy().astype(np.float64)
    if reward == "approval":
        return p
    amount = frame["amount_minor"].to_numpy().astype(np.float64)[:, None]
    fixed, share, failed = np.array([FEES[name] for name in asked.processors]).T
    return p * (amount * (0.25 - share) - fixed) - (1 - p) * failed


def judged(options: Options) -> list[Estimate]:
    (values,) = evaluate(options).values
    return list(values.estimates)


def spread(asked: Attempts) -> np.ndarray:
    return asked.offered / asked.offered.sum(axis=1, keepdims=True)


def always(asked: Attempts, name: str) -> np.ndarray:
    place = asked.processors.index(name)
    chosen = spread(asked)
    there = asked.offered[:, place]
    chosen[there] = np.eye(len(asked.processors))[place]
    return chosen


@pytest.mark.parametrize("reward", ["approval", "margin"])
def test_intervals_over_simulated_payments_hold_the_truth_as_often_as_they_say(shop: World, reward: Any) -> None:
    history = canonical.load(shop.history)
    asked = attempts(history, datetime(2026, 1, 1, tzinfo=UTC), LATE)
    assert tuple(asked.processors) == tuple(sorted(PROCESSORS))
    worth = known(shop, asked, reward)
    edges = [asked.frame["occurred_at"][place] for place in range(0, len(asked), len(asked) // 12)][:12]
    tried = held = held_robustly = 0
    for since, until in zip(edges, [*edges[1:], LATE], strict=True):
        estimates = judged(
            Options(
                history=shop.history,
                policies=("uniform", "processor:atlas", "processor:northpay"),
                since=since,
                until=until,
                reward=reward,
                fees=shop.fees,
                margin_share=0.25,
            )
        )
        # What is true of payments at such a time: of these very ones.
        mine = (asked.frame["occurred_at"] >= since) & (asked.frame["occurred_at"] < until)
        for found, chosen in zip(
            estimates, (spread(asked), always(asked, "atlas"), always(asked, "northpay")), strict=True
        ):
            true = float((chosen * worth).sum(axis=1)[mine.to_numpy()].mean())
            assert found.doubly_robust is not None
            tried += 1
            held += found.snips.low <= true <= found.snips.high
            held_robustly += found.doubly_robust.low <= true <= found.doubly_robust.high
    # Of 36 intervals that hold the truth 95 times in 100 fewer than 30 do one time in five hundred.
    assert tried == 36
    assert held >= 30
    assert held_robustly >= 30


def test_the_bundles_policy_is_worth_what_the_simulation_knows(bundle: Made) -> None:
    """Its own choices, by the service's policy, against the truth of every processor."""
    history = canonical.load(bundle.history)
    ready = open_bundle(bundle.manifest.version, bundle.bundles)
    asked = attempts(history, bundle.manifest.data.test_from, LATE)
    target = asked_of(ready, asked, scores.each_processor(ready, asked, history), scores.risk(ready, asked, history))
    assert target.chosen is not None
    assert target.chosen.sum(axis=1) == pytest.approx(np.ones(len(asked)))
    truth = pl.read_parquet(bundle.history.parent / "truth" / "*.parquet").filter(pl.col("attempt") == 1)
    true = float(
        (target.chosen * known(World(bundle.history, truth, bundle.fees), asked, "approval")).sum(axis=1).mean()
    )
    (found,) = judged(
        Options(history=bundle.history, bundles=bundle.bundles, policies=(f"bundle:{bundle.manifest.version}",))
    )
    assert found.policy == f"bundle:{bundle.manifest.version}"
    # One sample, so three and a half standard errors.
    low, value, high = found.snips.low, found.snips.value, found.snips.high
    assert value - 1.8 * (value - low) <= true <= value + 1.8 * (high - value)
    assert found.rows == len(asked)


def test_the_bundles_policy_explores_as_the_service_does(bundle: Made) -> None:
    history = canonical.load(bundle.history)
    ready = open_bundle("active", bundle.bundles)
    asked = attempts(history, bundle.manifest.data.test_from, LATE, most=300)
    approval, risk = scores.each_processor(ready, asked, history), scores.risk(ready, asked, history)
    chosen = asked_of(ready, asked, approval, risk).chosen
    assert chosen is not None
    parameters = bundle.manifest.policy
    assert ((chosen > 0) <= asked.offered).all()
    assert chosen.max(axis=1).min() >= 1 - parameters.exploration - 1e-9
    assert ((chosen > 0) & (chosen < 0.5)).any()


def test_probabilities_of_every_candidate_are_those_of_the_held_out_rows(bundle: Made) -> None:
    """The candidate that was used has the probability that calibration looks at."""
    history = canonical.load(bundle.history)
    ready = open_bundle("active", bundle.bundles)
    since = bundle.manifest.data.test_from
    asked = attempts(history, since, LATE)
    every = scores.each_processor(ready, asked, history)
    assert (np.isnan(every) == ~asked.offered).all()
    own = every[np.arange(len(asked)), asked.taken]
    rows = scores.held_out(ready, "routing", history, since, LATE, 100_000, 0)
    assert not isinstance(rows, str)
    first = rows.frame.select("payment_id", "attempt").with_columns(p=pl.Series(rows.p)).filter(pl.col("attempt") == 1)
    both = asked.frame.select("payment_id").with_columns(own=pl.Series(own)).join(first, on="payment_id", how="inner")
    assert len(both) == len(asked)
    assert both["own"].to_numpy() == pytest.approx(both["p"].to_numpy(), abs=1e-6)


def test_without_logged_propensities_the_report_says_so_first(
    shop: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = pl.read_parquet(shop.history / "part.parquet").with_columns(propensity=pl.lit(None, pl.Float64)).head(8_000)
    blind.write_parquet(tmp_path / "part.parquet")
    page = tmp_path / "report.html"
    told = ["evaluate", "--history", str(tmp_path / "part.parquet"), "--policy", "uniform", "--html", str(page)]
    assert main(told) == 0
    lines = capsys.readouterr().out.splitlines()
    loud = next(
        place for place, line in enumerate(lines) if line.startswith("! PROPENSITIES ARE ESTIMATED, not logged")
    )
    assert loud < next(place for place, line in enumerate(lines) if line.strip().startswith("policy"))
    assert 'class="loud"' in page.read_text()
    assert "PROPENSITIES ARE ESTIMATED, not logged" in page.read_text()


def test_propensities_that_cannot_be_right_are_no_conclusion(shop: World, tmp_path: Path) -> None:
    wrong = pl.read_parquet(shop.history / "part.parquet").with_columns(propensity=pl.col("propensity") * 0.5)
    wrong.write_parquet(tmp_path / "part.parquet")
    (found,) = judged(Options(history=tmp_path, policies=("processor:atlas",)))
    assert not found.conclusive
    assert "they are too low" in found.reading


def test_a_bundle_is_judged_by_what_it_did_not_learn_from_and_told_when_it_is_not(bundle: Made) -> None:
    options = Options(history=bundle.history, bundles=bundle.bundles, bundle="active", policies=("logged",))
    report = evaluate(options)
    assert report.since == bundle.manifest.data.test_from
    (judged_bundle,) = report.bundles
    assert judged_bundle.notes == ()
    by_model = {each.model: each for each in judged_bundle.models}
    evaluation = bundle.manifest.models["approval"].evaluation
    assert evaluation is not None
    figures = by_model["approval"].figures
    assert figures is not None
    # The same rows as the model card's, by another way.
    assert figures.rows == evaluation.rows
    assert figures.metrics["auc"].value == pytest.approx(evaluation.metrics["auc"].value)
    assert by_model["approval"].whole.ece.value == pytest.approx(evaluation.metrics["ece"].value, abs=0.004)
    seen = evaluate(msgspec.structs.replace(options, since=bundle.manifest.data.first))
    assert "it is judged in part by what it learnt from" in seen.bundles[0].notes[0]


def test_models_that_cannot_be_judged_say_why(bundle: Made) -> None:
    (judged_bundle,) = evaluate(
        Options(history=bundle.history, bundles=bundle.bundles, bundle="active", policies=("logged",))
    ).bundles
    assert {each.model for each in judged_bundle.models} | set(judged_bundle.untold) == {
        "approval",
        "risk",
        "routing",
        "retry",
    }
    for why in judged_bundle.untold.values():
        assert why.startswith(("not judged", "not trained"))


def test_one_seed_gives_one_report(shop: World) -> None:
    options = Options(history=shop.history, policies=("uniform", "best-fixed"), most=3_000, seed=3)
    assert msgspec.json.encode(evaluate(options)) == msgspec.json.encode(evaluate(options))


def test_the_json_is_the_report(shop: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "report.json"
    told = ["evaluate", "--history", str(shop.history), "--policy", "uniform", "--most", "2000", "--json", str(target)]
    assert main(told) == 0
    report = msgspec.json.decode(target.read_bytes(), type=Report)
    assert "\n".join(report.lines()) + "\n" == capsys.readouterr().out


class Page(HTMLParser):
    """What a page asks for, and how it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(bundle: Made, tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("page") / "report.html"
    told = [
        "--history",
        str(bundle.history),
        "--bundles",
        str(bundle.bundles),
        "--bundle",
        "active",
        "--html",
        str(target),
    ]
    assert main(["evaluate", *told]) == 0
    return target.read_text()


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in {"href", "xlink:href", "src"}:
                assert value is not None
                assert value.startswith("#")
    assert "@import" not in page
    assert re.findall(r"url\((?!#)", page) == []


def test_every_id_of_the_page_is_there_once_and_whatever_is_referred_to_is_there(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.tags:
        for named in (attributes.get("aria-labelledby") or "").split():
            assert named in ids
    for named in re.findall(r"url\(#([^)]+)\)", page) + re.findall(r'href="#([^"]+)"', page):
        assert named in ids


def test_the_page_can_be_read_in_the_dark_and_without_eyes(page: str) -> None:
    parsed = Page()
    parsed.feed(page)
    assert "prefers-color-scheme:dark" in page
    pictures = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert len(pictures) > 5
    assert all(picture["role"] == "img" and picture["aria-labelledby"] for picture in pictures)
    assert page.count("<title") == len(pictures) + 1
    assert page.count("<figcaption>") == len(pictures)
    # Colours are those of the page: nothing is drawn in one of its own.
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", drawn)) <= {
        "none",
        "var(--ink)",
        "var(--line)",
        "var(--accent)",
        "var(--doubt)",
    }
    for scope in ("col", "row"):
        assert f'scope="{scope}"' in page
    assert dict(parsed.tags)["html"]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_figure_says_of_how_many_rows_it_is(page: str) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions
    assert all(re.search(r"[\d,]+ rows", caption) for caption in captions)


def test_names_from_a_history_are_text_and_nothing_else(shop: World, tmp_path: Path) -> None:
    odd = '<b>$x$ & "co"</b>'
    some = pl.read_parquet(shop.history / "part.parquet").head(3_000)
    renamed = some.with_columns(
        processor=pl.when(pl.col("processor") == "atlas").then(pl.lit(odd)).otherwise("processor")
    )
    renamed.write_parquet(tmp_path / "part.parquet")
    target = tmp_path / "report.html"
    told = ["--history", str(tmp_path), "--policy", f"processor:{odd}", "--html", str(target)]
    assert main(["evaluate", *told]) == 0
    written = target.read_text()
    assert "<b>" not in written
    assert "&lt;b&gt;$x$ &amp; " in written


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            ("--policy", "processor:nowhere"),
            "expected one of atlas, cobalt, harbor, meridian, northpay after processor:",
        ),
        (("--policy", "chance"), "expected a policy as uniform"),
        (("--policy", "bundle:none"), "expected a bundle 'none' in"),
        (("--bundle", "active"), "expected an active bundle in"),
        (("--from", "2030-01-01"), "expected the payments judged by to begin before they end"),
        (("--reward", "margin", "--currency", "USD"), "expected payments in USD, or in a currency with a rate"),
        (("--reward", "margin", "--fees", "/nowhere.toml"), "the fees file /nowhere.toml cannot be read"),
        (
            ("--policy", "logged", "--html", "/nowhere/report.html"),
            "the report cannot be written to /nowhere/report.html",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    shop: World, tmp_path: Path, told: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--history", str(shop.history), "--bundles", str(tmp_path), "--most", "500", *told]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--clip", "0"),
        ("--most", "0"),
        ("--margin-share", "1.2"),
        ("--currency", "euro"),
        ("--rate", "GBP"),
        ("--rate", "X=1"),
    ],
)
def test_values_that_make_no_sense_are_a_mistake_of_usage(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--history", "x", option, value])
    assert stopped.value.code == 2
    assert "expected" in capsys.readouterr().err


def test_an_altered_bundle_is_refused(bundle: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(bundle.folder, tmp_path / bundle.manifest.version)
    (tmp_path / bundle.manifest.version / "routing.onnx").write_bytes(b"other")
    told = ["evaluate", "--history", str(bundle.history), "--policy", f"bundle:{tmp_path / bundle.manifest.version}"]
    assert main(told) == 2
    assert "its sha256 differs" in capsys.readouterr().err


@pytest.mark.real_data
def test_real_attempts_policies_are_told_apart_by_their_margin(tmp_path: Path) -> None:
    """psp_routing_2019.csv: fees in euros and logged propensities as its README states them."""
    source = data("psp_routing_2019.csv")
    folder = tmp_path / "psp"
    told = ["--mapping", str(MAPPINGS / "psp_routing_2019.toml"), "--out", str(folder), str(source)]
    assert main(["ingest", *told]) == 0
    fees = tmp_path / "fees.toml"
    charged = {"Moneycard": (500, 200), "Goldcard": (1000, 500), "UK_Card": (300, 100), "Simplecard": (100, 50)}
    fees.write_text(
        "".join(
            f"[processors.{name}]\napproved_fixed_minor = {won}\nfailed_fixed_minor = {lost}\n"
            for name, (won, lost) in charged.items()
        )
    )
    fit = ["fit", "--history", str(folder / "history"), "--bundles", str(tmp_path / "bundles"), "--fees", str(fees)]
    assert main([*fit, "--test-from", "2019-02-01", "--max-rows", "15000"]) == 0
    assert shelf.active(tmp_path / "bundles") is not None
    report = evaluate(
        Options(
            history=folder / "history",
            bundles=tmp_path / "bundles",
            bundle="active",
            reward="margin",
            policies=("logged", "uniform", "best-fixed", *(f"processor:{name}" for name in charged), "bundle:active"),
        )
    )
    (values,) = report.values
    assert values.notes == ()
    found = {each.policy.split(":")[-1]: each for each in values.estimates}
    assert all(each.conclusive for each in values.estimates)
    assert {each.rows for each in values.estimates} == {6_801}
    # By hand: margin_share of the amount, less the fee of what was approved or of what failed.
    first = pl.read_parquet(folder / "history" / "*.parquet").filter(
        pl.col("attempt") == 1, pl.col("occurred_at") >= datetime(2019, 2, 1, tzinfo=UTC)
    )
    share = report.bundles and 0.10
    won = first["processor"].replace_strict({name: fee[0] for name, fee in charged.items()}, return_dtype=pl.Int64)
    lost = first["processor"].replace_strict({name: fee[1] for name, fee in charged.items()}, return_dtype=pl.Int64)
    margin = np.where(first["status"] == "approved", first["amount_minor"] * share - won, -lost)
    assert found["logged"].snips.value == pytest.approx(float(margin.mean()))
    mine = (first["processor"] == "Simplecard").to_numpy()
    weights = 1 / first["propensity"].to_numpy()[mine]
    assert found["Simplecard"].snips.value == pytest.approx(float((weights * margin[mine]).sum() / weights.sum()))
    assert found["Simplecard"].matched == int(mine.sum())
    best = found[shelf.active(tmp_path / "bundles") or ""]
    assert best.reading.endswith("would have earned more than whoever decided")
    (judged_bundle,) = report.bundles
    approval = next(each for each in judged_bundle.models if each.model == "approval")
    assert approval.whole.ece.value <= 0.02
