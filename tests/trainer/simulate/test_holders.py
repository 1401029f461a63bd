"""Who pays, and on which device."""

import numpy as np
import pytest

from trainer.simulate.facts import DAY_US
from trainer.simulate.gateway import Gateway
from trainer.simulate.payments import Payments, generate
from trainer.simulate.world import World

COUNT = 40_000


@pytest.fixture(scope="module")
def payments(world: World) -> Payments:
    return generate(world, (1, 0), COUNT, 0, 30 * DAY_US)


def distinct(groups: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return how many different members each group has."""
    pairs = np.unique(np.stack([groups, members], axis=1), axis=0)
    return np.unique(pairs[:, 0], return_counts=True)[1]


def test_every_card_has_one_customer_and_a_customer_one_to_three_cards_of_one_country(world: World) -> None:
    customer, country = world.holders.customer, world.cards.country
    held = np.bincount(customer)
    assert (held.min(), held.max()) == (1, 3)
    assert (held > 1).mean() == pytest.approx(0.28, abs=0.03)
    assert len(held) == len(world.holders.device)
    assert (distinct(customer, country) == 1).all()


def test_customers_have_one_to_three_devices_and_some_share_one(world: World) -> None:
    device = world.holders.device
    used = distinct(np.repeat(np.arange(len(device)), device.shape[1]), device.ravel())
    assert set(used.tolist()) == {1, 2, 3}
    shared = np.bincount(device[:, 0])
    assert shared.max() == 2
    assert (shared == 2).sum() / len(device) == pytest.approx(0.12, abs=0.02)


def test_no_two_have_the_same_id_and_none_is_that_of_a_card(world: World) -> None:
    ids = [world.cards.token[:, 4:], world.holders.customer_id[:, 4:], world.holders.device_id[:, 4:]]
    together = np.concatenate(ids)
    assert len(np.unique(together, axis=0)) == len(together)


def test_a_merchant_initiated_payment_has_a_customer_and_no_device(payments: Payments) -> None:
    assert payments.customer.min() >= 0
    assert (payments.device[payments.merchant_initiated] == -1).all()
    seen = payments.device[~payments.merchant_initiated] >= 0
    assert 0.9 < seen.mean() < 1.0
    assert ((payments.device < 0) == np.isnan(payments.trust)).all()


def test_honest_payments_come_from_the_holder_on_a_device_of_theirs(world: World, payments: Payments) -> None:
    honest = ~payments.is_fraud
    assert np.array_equal(payments.customer[honest], world.holders.customer[payments.card[honest]])
    seen = honest & (payments.device >= 0)
    assert (world.holders.device[payments.customer[seen]] == payments.device[seen, None]).any(axis=1).all()


def test_fraud_comes_from_few_devices_over_many_cards_and_no_holder_uses_them(world: World, payments: Payments) -> None:
    fraud = payments.is_fraud & (payments.device >= 0)
    honest = ~payments.is_fraud & (payments.device >= 0)
    assert not set(payments.device[fraud]) & set(payments.device[honest])
    of_fraud = distinct(payments.device[fraud], payments.card[fraud])
    of_holders = distinct(payments.device[honest], payments.card[honest])
    assert of_fraud.max() > 10
    assert of_holders.max() <= 6
    assert of_fraud.mean() > 2 * of_holders.mean()
    attack = payments.is_attack & fraud
    hours = payments.at_us[attack] // (6 * 3_600_000_000)
    assert distinct(hours, payments.device[attack]).max() <= 2
    stolen = payments.is_fraud & ~payments.is_attack
    taken_over = payments.customer[stolen] == world.holders.customer[payments.card[stolen]]
    assert 0.3 < taken_over.mean() < 0.7


def test_a_longer_world_has_the_same_people() -> None:
    short, long = (World.build(3, merchants=20, cards=1_000, days=days).holders for days in (10, 20))
    assert np.array_equal(short.customer, long.customer)
    assert np.array_equal(short.device, long.device)
    assert np.array_equal(short.device_id, long.device_id[: len(short.device_id)])


def test_live_requests_name_both_and_leave_out_a_device_that_was_not_seen(world: World) -> None:
    drawn = generate(world, (2, 0), 300, 30 * DAY_US, 31 * DAY_US, 2**40)
    gateway = Gateway(world, drawn)
    asked = [gateway.auth_request(row) for row in range(300)]
    assert all(request.customer_id is not None and request.customer_id.startswith("cus_") for request in asked)
    absent = [request.device_id is None for request in asked]
    assert absent == (drawn.device < 0).tolist()
    assert 0 < sum(absent) < 300
