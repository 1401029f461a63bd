import msgspec
import pytest

from contracts.bundle import PolicyParameters
from service.policy.defaults import FILE, check, default_parameters
from service.policy.errors import ParameterError


def test_defaults_are_in_order_and_pass_their_own_check():
    defaults = default_parameters()
    assert defaults.tier_medium < defaults.challenge_from < defaults.tier_high < defaults.review_from
    assert defaults.review_from < defaults.decline_from
    assert defaults.low_value_minor == {"EUR": 3000, "GBP": 2500}


def test_the_grid_of_waits_runs_from_now_to_ten_days():
    waits = default_parameters().retry.waits_seconds
    assert (len(waits), waits[0], waits[-1]) == (12, 0, 864_000)


@pytest.mark.parametrize("text", ["margin = 1\n", "[retry]\nwait = 3\n"])
def test_an_unknown_parameter_is_refused(tmp_path, text):
    file = tmp_path / "own.toml"
    file.write_text(FILE.read_text().replace("[retry]\n", text) if "[retry]" in text else text + FILE.read_text())
    with pytest.raises(ParameterError, match="expected one of"):
        default_parameters(file)


def test_a_missing_parameter_is_refused(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(FILE.read_text().replace("margin_share = 0.10\n", ""))
    with pytest.raises(ParameterError, match="margin_share"):
        default_parameters(file)


@pytest.mark.parametrize(
    "change",
    [
        {"tier_medium": 0.8},
        {"exploration": 1.5},
        {"exploration_floor": -0.1},
        {"probe_share": 2.0},
        {"challenge_abandonment": 1.1},
        {"challenge_fraud_stopped": -0.5},
        {"margin_share": -0.1},
        {"minimum_approval": float("nan")},
    ],
)
def test_parameters_that_contradict_themselves_are_refused(change):
    with pytest.raises(ParameterError, match=next(iter(change))):
        check(msgspec.structs.replace(default_parameters(), **change))


@pytest.mark.parametrize("waits", [(0, 0), (10, 5), (-1, 5)])
def test_waits_out_of_order_are_refused(waits):
    defaults = default_parameters()
    retry = msgspec.structs.replace(defaults.retry, waits_seconds=waits)
    with pytest.raises(ParameterError, match=r"retry.waits_seconds"):
        check(msgspec.structs.replace(defaults, retry=retry))


def test_parameters_of_an_older_bundle_take_the_defaults_of_what_they_do_not_say():
    raw = msgspec.to_builtins(default_parameters())
    newer = ("exploration_floor", "probe_share", "challenge_abandonment", "challenge_fraud_stopped")
    older = {name: value for name, value in raw.items() if name not in newer}
    parameters = msgspec.convert({**older, "gone_since": 1}, PolicyParameters)
    check(parameters)
    assert parameters == default_parameters()
