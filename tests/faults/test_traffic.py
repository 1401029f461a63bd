"""What is asked under a fault and in a soak: payments of one shop, with the same cards every time or with others."""

import msgspec
import pytest

from benchmarks.material import workload
from benchmarks.traffic import Traffic


@pytest.mark.parametrize("turns_over", [False, True])
def test_a_pass_through_the_workload_has_cards_of_its_own_where_they_turn_over(turns_over: bool) -> None:
    traffic = Traffic("shop", "ab", turns_over=turns_over)
    passes: list[set[str]] = []
    for _ in range(2):
        cards = set()
        for _ in workload().auths:
            head, body = traffic.next().request.split(b"\r\n\r\n", 1)
            assert int(head.rpartition(b"content-length: ")[2]) == len(body)
            cards.add(msgspec.json.decode(body)["card_token"])
        passes.append(cards)
    assert passes[0].isdisjoint(passes[1]) == turns_over
    assert turns_over or passes[0] == passes[1]
    assert len(set(traffic.payments)) == 2 * len(workload().auths)
