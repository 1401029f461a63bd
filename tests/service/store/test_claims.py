"""What holds for every store of answers, ledgers and standings."""

from features.clock import DAY, SECOND
from features.increment import attempt_increment, result_increment
from features.layout import LAYOUTS
from features.state import add
from service import ledger, standing
from service.ledger import APPROVED, FAILED, Entry, Limit
from service.standing import Note
from service.store import Applied, FeatureStore, StateKeys, Update, by_attempt, by_decision
from service.store.base import Claim, Decided, Kept, LedgerMove, Reservation, StandingUpdate, by_question

START = 1_780_000_000 * SECOND
LEDGER = ledger.key_of("visa", "merchant", "m_1", "tok_1")
QUESTION = by_question("auth", "p_1", 1)
RECORDS = (by_decision("d_1"), by_attempt("p_1", 1))
STANDINGS = standing.keys_of("north", "visa", "m_1")
KEYS = StateKeys(("tok_1",), (), RECORDS[1], STANDINGS, LEDGER, QUESTION)
ATTEMPT = [Update("card", "tok_1", attempt_increment(START, 5))]
CARD = add(LAYOUTS["card"], None, ATTEMPT[0].increment)
TWO = (Limit(30 * DAY, 2),)


def entry(number: int, at: int = START, amount_minor: int = 500) -> Entry:
    return Entry(at, ledger.attempt_id(f"p_{number}", 1), amount_minor)


def decision(number: int = 1, answer: bytes = b"yes", *, at: int = START, limits: tuple[Limit, ...] = TWO) -> Decided:
    """Return all that an answer can write."""
    return Decided(
        f"e{number}",
        ATTEMPT,
        [Kept(by_attempt(f"p_{number}", 1), b"record", 60)],
        Kept(by_question("auth", f"p_{number}", 1), answer, 60),
        Reservation(LEDGER, entry(number, at), limits),
    )


def test_an_answer_and_all_that_goes_with_it_is_read_in_one_go(tell) -> None:
    async def story(store: FeatureStore) -> None:
        kept = ledger.pack([entry(1)])
        assert await store.decided(decision()) == Claim(counted=True, ledger=kept)
        note = Note(START, approved=True, expected=0.8, latency_ms=90, amount_minor=500)
        await store.apply_many([Applied("r1", (), [StandingUpdate(key, note) for key in STANDINGS[:2]])])
        states = await store.read(KEYS)
        assert states.payment == (CARD,)
        assert (states.record, states.ledger, states.answer) == (b"record", kept, b"yes")
        assert states.standings == (standing.add(None, note), standing.add(None, note), None)

    tell(story)


def test_a_question_that_has_an_answer_is_told_it_and_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        await store.decided(decision())
        before = await store.read(KEYS)
        again = decision(1, b"no", at=START + DAY)._replace(event_id="e2", records=[Kept(RECORDS[1], b"other", 60)])
        assert await store.decided(again) == Claim(answer=b"yes")
        assert await store.read(KEYS) == before
        # Its event was not applied.
        assert await store.apply("e2", [])

    tell(story)


def test_a_limit_that_is_used_up_refuses_and_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        for number in (1, 2):
            assert (await store.decided(decision(number))).counted
        full = ledger.pack([entry(1), entry(2)])
        third = StateKeys(("tok_1",), (), by_attempt("p_3", 1), (), LEDGER, by_question("auth", "p_3", 1))
        before = await store.read(third)
        assert await store.decided(decision(3)) == Claim(refused=True, ledger=full)
        assert await store.read(third) == before
        assert before.ledger == full
        assert before.record is before.answer is None
        assert await store.apply("e3", [])

    tell(story)


def test_an_outcome_moves_state_standings_ledger_and_record_once(tell) -> None:
    async def story(store: FeatureStore) -> None:
        await store.decided(decision())
        note = Note(START, approved=True, expected=0.8, latency_ms=90, amount_minor=500)
        settled = entry(1)._replace(status=APPROVED)
        event = Applied(
            "r1",
            [Update("card", "tok_1", result_increment(START + 1, "approved"))],
            [StandingUpdate(key, note) for key in STANDINGS],
            LedgerMove(LEDGER, settled.attempt, settled),
            [Kept(RECORDS[1], b"settled", 60)],
        )
        assert await store.apply_many([event]) == [True]
        states = await store.read(KEYS)
        assert states.payment == (add(LAYOUTS["card"], CARD, result_increment(START + 1, "approved")),)
        assert states.standings == (standing.add(None, note),) * 3
        assert states.ledger == ledger.pack([settled])
        assert states.record == b"settled"
        other = LedgerMove(LEDGER, settled.attempt, settled._replace(status=FAILED))
        repeated = event._replace(ledger=other, records=[Kept(RECORDS[1], b"again", 60)])
        assert await store.apply_many([repeated, repeated]) == [False, False]
        assert await store.read(KEYS) == states

    tell(story)
