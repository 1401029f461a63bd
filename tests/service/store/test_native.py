"""The kernel that writes commands in C against the Python: byte for byte the same commands, the same names and places."""

import random
from typing import Any

import pytest

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.increment import attempt_increment, result_increment
from features.layout import LAYOUTS
from service.ledger import Entry, Limit
from service.store import base, command, lines
from service.store.base import Decided, Kept, Reservation, StateKeys, Update

pytestmark = pytest.mark.skipif(not lines.IS_NATIVE, reason="the kernels were not built: no C compiler here")

if lines.IS_NATIVE:
    from service.store import command_native as native

TTL_MS = 604_800_000
WORDS = ("tok_1", "", "é€", "a:b", "x" * 300, "m 1")


def some_decided(chance: random.Random) -> Decided:
    increment = attempt_increment(chance.choice([0, 1, 1_780_012_800_000_000]), chance.choice([0, 1, 2**32, 2**63]))
    kinds = chance.sample(sorted(LAYOUTS), chance.randrange(len(LAYOUTS) + 1))
    updates = [Update(kind, chance.choice(WORDS), increment, chance.choice([None, 0, 1, 2**32 - 1])) for kind in kinds]
    records = [
        Kept(chance.choice(WORDS), chance.randbytes(chance.choice([0, 1, 300, 20_000])), 86_400)
        for _ in range(chance.randrange(4))
    ]
    answer = Kept(chance.choice(WORDS), b"an answer", 3600) if chance.random() < 0.7 else None
    entry = Entry(1_780_012_800_000_000, 2**64 - 1, 1250)
    limits = (Limit(86_400_000_000, 15, None, False), Limit(60_000_000, 1, 1250, True))[: chance.randrange(3)]
    reservation = Reservation(chance.choice(WORDS), entry, limits) if chance.random() < 0.7 else None
    return Decided(chance.choice([None, "a:1:p"]), updates, records, answer, reservation)


def test_commands_are_the_same_bytes() -> None:
    chance = random.Random(3)
    for _ in range(600):
        decision = some_decided(chance)
        assert native.decided(TTL_MS, decision) == command.packed(command.decided(TTL_MS, decision))


def test_what_is_not_one_plain_attempt_is_left_to_the_reference() -> None:
    result, attempt = result_increment(5, "approved"), attempt_increment(5, 10)
    card, issuer = Update("card", "c", attempt), Update("issuer", "DE", attempt_increment(6, 10))
    for updates in ([Update("card", "c", result)], [card, issuer], [card, card]):
        decision = Decided("a:1:p", updates)
        assert native.decided(TTL_MS, decision) is None
        assert command.packed(lines.decided(TTL_MS, decision)) == command.packed(command.decided(TTL_MS, decision))
    with pytest.raises(KeyError):
        native.decided(TTL_MS, Decided("a:1:p", [Update("weather", "c", attempt)]))


def test_a_packed_command_is_sent_in_full_where_the_script_is_unknown() -> None:
    decision = some_decided(random.Random(8))
    whole = command.in_full(native.decided(TTL_MS, decision) or b"")
    assert whole == command.packed(command.in_full(command.decided(TTL_MS, decision)))


def test_names_shapes_and_places_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(5)
    questions = []
    for _ in range(200):
        keys = StateKeys(
            tuple(chance.choice([None, *WORDS]) for _ in PAYMENT_KINDS[: chance.randrange(8)]),
            tuple(tuple(chance.choice([None, *WORDS]) for _ in CANDIDATE_KINDS) for _ in range(chance.randrange(4))),
            chance.choice([None, "i:1"]),
            tuple(chance.choice(WORDS) for _ in range(chance.randrange(5))),
            chance.choice([None, "visa:c:1:mc"]),
            chance.choice([None, "auth:1:p"]),
        )
        named = lines.names(keys)
        blobs = [None if name is None or chance.random() < 0.3 else name.encode() for name in named]
        shaped = lines.shaped(keys, blobs)
        with monkeypatch.context() as patch:
            patch.setattr(lines, "IS_NATIVE", False)
            assert lines.names(keys) == named
            assert lines.shaped(keys, blobs) == shaped == base.shaped(keys, blobs)
        questions.append(named)
    for count in (0, 1, 5, 200):
        asked = questions[:count]
        line, places = lines.mget(asked)
        values = [b"%d" % place for place in range(2_000)]
        with monkeypatch.context() as patch:
            patch.setattr(lines, "IS_NATIVE", False)
            assert lines.mget(asked) == (line, places)
            slow = [lines.taken(list(values), mine) for mine in places]
        assert [lines.taken(list(values), mine) for mine in places] == slow
    assert lines.mget([[None]])[0] is None


def test_what_an_embedded_store_fetches_is_the_same() -> None:
    from service.store.expiring import Table, Tables, fetched, states_of
    from service.store.expiring_native import fetched as kernel
    from service.store.expiring_native import states

    chance = random.Random(4)

    def table() -> Table:
        return {word: (chance.choice([1.0, 5.0, 9.0]), word.encode()) for word in WORDS if chance.random() < 0.7}

    def names(most: int) -> tuple[str | None, ...]:
        return tuple(chance.choice([None, *WORDS, "?"]) for _ in range(chance.randrange(most + 1)))

    for _ in range(200):
        tables = [table() for _ in range(chance.randrange(5))]
        keys = names(4)
        assert kernel(tables, keys, 5.0) == fetched(tables, keys, 5.0)
        kept = Tables([table() for _ in range(7)], [table() for _ in range(3)], table(), table(), table(), table())
        question = StateKeys(
            names(7),
            tuple(names(3) for _ in range(chance.randrange(3))),
            chance.choice([None, *WORDS]),
            tuple(chance.choice(WORDS) for _ in range(chance.randrange(5))),
            chance.choice([None, *WORDS]),
            chance.choice([None, *WORDS]),
        )
        found = states(kept, question, 5.0)
        assert found == states_of(kept, question, 5.0)
        assert type(found) is base.States


def test_tables_that_end_are_the_same() -> None:
    from service.store.expiring import Expiring
    from service.store.expiring_native import NativeExpiring

    chance = random.Random(11)
    now = 0.0

    def clock() -> float:
        return now

    for most in (None, 20):
        tables: list[Any] = [kind(clock, most) for kind in (Expiring, NativeExpiring)]
        for _ in range(4_000):
            now += chance.choice([0.0, 0.1, 1.0])
            key, ttl = chance.randrange(60), chance.choice([1.0, 5.0, 20.0])
            for each in tables:
                each.put(key, now, ttl)
            asked = chance.randrange(60)
            assert tables[0].get(asked) == tables[1].get(asked)
            assert tables[0].entries == tables[1].entries
            assert len(tables[0]) == len(tables[1]) <= (most or 60)


def test_states_of_an_embedded_store_are_added_to_the_same() -> None:
    from service.store.expiring import table
    from service.store.memory import added, put_all
    from service.store.memory_native import added as add_kernel
    from service.store.memory_native import put_all as put_kernel

    chance = random.Random(12)
    mine: dict[str, Any] = {kind: table(lambda: 0.0) for kind in LAYOUTS}
    theirs: dict[str, Any] = {kind: table(lambda: 0.0) for kind in LAYOUTS}
    at = 1_780_012_800_000_000
    for _ in range(400):
        at += chance.choice([0, 1, 3_600_000_000])
        increments = [
            attempt_increment(at, 10),
            result_increment(at, chance.choice(["approved", "declined"]), "visa", "51"),
        ]
        updates = [
            Update(
                chance.choice(sorted(LAYOUTS)),
                chance.choice(WORDS),
                chance.choice(increments),
                chance.choice([None, 7]),
            )
            for _ in range(chance.randrange(8))
        ]
        blobs = added(mine, updates)
        assert add_kernel(theirs, updates) == blobs
        put_all(mine, blobs)
        put_kernel(theirs, blobs)
    assert {kind: kept.entries for kind, kept in mine.items()} == {kind: kept.entries for kind, kept in theirs.items()}
    for kernel in (added, add_kernel):
        with pytest.raises(KeyError):
            kernel(mine, [Update("weather", "c", attempt_increment(5, 10))])
