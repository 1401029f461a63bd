"""Keys of a question and updates of an attempt: in C the same as in Python."""

import random

import pytest

from contracts.payment import Payment
from features.increment import attempt_increment, chargeback_increment, result_increment, taken_back
from service.question import keys_of_question
from service.record import of_payment, updates_of

kernel = pytest.importorskip("service.keys_native", reason="the kernels were not built: no C compiler here")


def test_the_same_keys_and_updates() -> None:
    chance = random.Random(2)
    words = ("tok_1", "m", "é€", "a:b", "")
    for _ in range(500):
        payment = Payment(
            payment_id="p",
            merchant_id=chance.choice(words),
            amount_minor=chance.randrange(1, 10_000),
            currency="EUR",
            card_token=chance.choice(words),
            card_network="visa",
            issuer_country=chance.choice(("DE", "FR")),
            card_bin=chance.choice((None, "411111")),
            customer_id=chance.choice((None, *words)),
            device_id=chance.choice((None, *words)),
        )
        processors = tuple(chance.choice(words) for _ in range(chance.randrange(4)))
        given = (payment, processors, "visa", "ledger", "a:1:p", "auth:1:p")
        assert kernel.keys(*given) == keys_of_question(*given)
        through = chance.choice((None, "north", "é"))
        record = of_payment(payment, through, 5, counted=True, network="visa")
        for increment in (
            attempt_increment(5, chance.choice([0, 10])),
            result_increment(5, chance.choice(["approved", "declined", "error"]), "visa", "51"),
            chargeback_increment(7),
            taken_back(result_increment(5, "error")),
        ):
            assert kernel.updates(record, increment, through) == updates_of(record, increment, through)
