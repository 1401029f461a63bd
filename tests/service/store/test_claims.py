"""What holds for every store of answers, ledgers and standings."""

import asyncio

import pytest

from features.clock import DAY, HOUR, SECOND
from features.increment import attempt_increment, result_increment, taken_back
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
NOTE = Note(START, approved=True, expected=0.8, latency_ms=90, amount_minor=500)


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


def keys_of(number: int) -> StateKeys:
    """Return the question for all that `decision` writes."""
    return StateKeys(("tok_1",), (), by_attempt(f"p_{number}", 1), (), LEDGER, by_question("auth", f"p_{number}", 1))


async def ledger_of(store: FeatureStore, key: str = LEDGER) -> bytes | None:
    return (await store.read(StateKeys(ledger=key))).ledger


def reservation(number: int, at: int = START, amount_minor: int = 500, limits: tuple[Limit, ...] = TWO) -> Decided:
    """Return a claim of the ledger alone."""
    return Decided(None, reservation=Reservation(LEDGER, entry(number, at, amount_minor), limits))


def test_nothing_is_known_of_what_was_never_written(tell) -> None:
    async def story(store: FeatureStore) -> None:
        states = await store.read(KEYS)
        assert (states.payment, states.record, states.ledger, states.answer) == ((None,), None, None, None)
        assert states.standings == (None, None, None)

    tell(story)


def test_an_answer_and_all_that_goes_with_it_is_read_in_one_go(tell) -> None:
    async def story(store: FeatureStore) -> None:
        kept = ledger.pack([entry(1)])
        assert await store.decided(decision()) == Claim(counted=True, ledger=kept)
        await store.apply_many([Applied("r1", (), [StandingUpdate(key, NOTE) for key in STANDINGS[:2]])])
        states = await store.read(KEYS)
        assert states.payment == (CARD,)
        assert (states.record, states.ledger, states.answer) == (b"record", kept, b"yes")
        assert states.standings == (standing.add(None, NOTE), standing.add(None, NOTE), None)

    tell(story)


@pytest.mark.parametrize("answer", [b"", bytes(range(256)) * 6, b"\r\n$-1\r\n", b"x" * 100_000])
def test_an_answer_is_kept_word_for_word(tell, answer: bytes) -> None:
    async def story(store: FeatureStore) -> None:
        assert (await store.decided(decision(1, answer))).counted
        assert (await store.read(KEYS)).answer == answer
        assert await store.decided(decision(1, b"other")) == Claim(answer=answer)

    tell(story)


def test_a_question_that_has_an_answer_is_told_it_and_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        await store.decided(decision())
        before = await store.read(KEYS)
        again = decision(1, b"no", at=START + DAY)._replace(event_id="e2", records=[Kept(RECORDS[1], b"other", 60)])
        assert await store.decided(again) == Claim(answer=b"yes")
        assert await store.read(KEYS) == before
        # Its event was not applied.
        assert await store.apply("e2", ATTEMPT)

    tell(story)


def test_questions_of_another_kind_or_attempt_have_answers_of_their_own(tell) -> None:
    async def story(store: FeatureStore) -> None:
        questions = [by_question(*each) for each in (("auth", "p", 1), ("routing", "p", 1), ("auth", "p", 11))]
        questions += [by_question("auth", payment, 1) for payment in ("1:p", "{p}", "p}{", "é")]
        for number, question in enumerate(questions):
            given = Decided(None, answer=Kept(question, b"%d" % number, 60))
            assert await store.decided(given) == Claim()
        for number, question in enumerate(questions):
            assert (await store.read(StateKeys(answer=question))).answer == b"%d" % number

    tell(story)


def test_a_limit_that_is_used_up_refuses_and_changes_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        for number in (1, 2):
            assert (await store.decided(decision(number))).counted
        full = ledger.pack([entry(1), entry(2)])
        before = await store.read(keys_of(3))
        assert (before.record, before.ledger, before.answer) == (None, full, None)
        assert await store.decided(decision(3)) == Claim(refused=True, ledger=full)
        assert await store.read(keys_of(3)) == before
        # Its event was not applied, and another answer to its question is taken at once.
        assert await store.decided(decision(3, b"stop")._replace(reservation=None)) == Claim(counted=True)
        assert (await store.read(keys_of(3))).answer == b"stop"

    tell(story)


def test_a_limit_of_nothing_refuses_where_nothing_is_known(tell) -> None:
    async def story(store: FeatureStore) -> None:
        assert await store.decided(reservation(1, limits=(Limit(DAY, 0),))) == Claim(refused=True)
        assert await ledger_of(store) is None

    tell(story)


def test_an_attempt_decided_again_keeps_its_one_place(tell) -> None:
    async def story(store: FeatureStore) -> None:
        for number in (1, 2):
            await store.decided(decision(number))
        # Its answer was forgotten; it moves its reservation and is not counted again.
        again = decision(1, at=START + HOUR)._replace(answer=None, records=[Kept(RECORDS[1], b"newer", 60)])
        moved = ledger.pack([entry(2), entry(1, START + HOUR)])
        assert await store.decided(again) == Claim(counted=False, ledger=moved)
        states = await store.read(KEYS)
        assert states.record == b"newer"
        assert states.ledger == moved
        assert states.payment == (add(LAYOUTS["card"], CARD, ATTEMPT[0].increment),)

    tell(story)


def test_without_an_event_nothing_is_counted(tell) -> None:
    async def story(store: FeatureStore) -> None:
        kept = ledger.pack([entry(1)])
        assert await store.decided(decision()._replace(event_id=None)) == Claim(counted=False, ledger=kept)
        states = await store.read(KEYS)
        assert states.payment == (None,)
        assert (states.record, states.ledger, states.answer) == (b"record", kept, b"yes")

    tell(story)


def test_an_unknown_kind_keeps_no_answer_and_reserves_nothing(tell) -> None:
    async def story(store: FeatureStore) -> None:
        wrong = decision()._replace(updates=[*ATTEMPT, Update("colour", "red", ATTEMPT[0].increment)])
        with pytest.raises(KeyError):
            await store.decided(wrong)
        states = await store.read(KEYS)
        assert (states.record, states.ledger, states.answer) == (None, None, None)
        assert (await store.decided(decision())).counted

    tell(story)


def test_an_outcome_settles_its_reservation_or_releases_it(tell) -> None:
    async def story(store: FeatureStore) -> None:
        for number in (1, 2):
            await store.decided(decision(number))
        assert (await store.decided(reservation(3))).refused
        released = LedgerMove(LEDGER, entry(1).attempt, None)
        assert await store.apply_many([Applied("o1", ledger=released)]) == [True]
        assert await ledger_of(store) == ledger.pack([entry(2)])
        assert not (await store.decided(reservation(3))).refused
        failed = entry(2, START + 9)._replace(status=FAILED)
        await store.apply_many([Applied("o2", ledger=LedgerMove(LEDGER, failed.attempt, failed))])
        assert await ledger_of(store) == ledger.pack([entry(3), failed])
        assert (await store.decided(reservation(4))).refused
        # What has failed is not released; what turns out approved makes room.
        gone = LedgerMove(LEDGER, failed.attempt, None)
        approved = failed._replace(status=APPROVED)
        await store.apply_many([Applied("o3", ledger=gone)])
        assert await ledger_of(store) == ledger.pack([entry(3), failed])
        await store.apply_many([Applied("o4", ledger=LedgerMove(LEDGER, failed.attempt, approved))])
        assert await ledger_of(store) == ledger.pack([entry(3), approved])
        assert not (await store.decided(reservation(4))).refused

    tell(story)


def test_an_outcome_nobody_reserved_is_entered_and_a_release_of_nothing_leaves_no_ledger(tell) -> None:
    async def story(store: FeatureStore) -> None:
        await store.apply_many([Applied("o1", ledger=LedgerMove(LEDGER, 7, None))])
        assert await ledger_of(store) is None
        failed = entry(1)._replace(status=FAILED)
        await store.apply_many([Applied("o2", ledger=LedgerMove(LEDGER, failed.attempt, failed))])
        assert await ledger_of(store) == ledger.pack([failed])

    tell(story)


def test_an_approval_resets_the_limits_that_say_so(tell) -> None:
    async def story(store: FeatureStore) -> None:
        for number in (1, 2):
            await store.decided(decision(number))
        approved = entry(3, START + HOUR)._replace(status=APPROVED)
        await store.apply_many([Applied("o", ledger=LedgerMove(LEDGER, approved.attempt, approved))])
        resets = TWO[0]._replace(resets=True)
        late = START + 2 * HOUR
        assert (await store.decided(reservation(4, late, limits=TWO))).refused
        # What is still open may have been sent after the approval.
        assert (await store.decided(reservation(4, late, limits=(resets,)))).refused
        for number in (1, 2):
            failed = entry(number)._replace(status=FAILED)
            await store.apply_many([Applied(f"f{number}", ledger=LedgerMove(LEDGER, failed.attempt, failed))])
        assert (await store.decided(reservation(4, late, limits=TWO))).refused
        assert not (await store.decided(reservation(4, late, limits=(resets,)))).refused
        # Not for what is dated before the approval.
        assert (await store.decided(reservation(5, START + 1, limits=(resets,)))).refused

    tell(story)


def test_a_limit_of_one_amount_counts_that_amount(tell) -> None:
    async def story(store: FeatureStore) -> None:
        one = (Limit(30 * DAY, 1, 500),)
        large = (Limit(30 * DAY, 1, 10**12),)
        assert not (await store.decided(reservation(1, amount_minor=500, limits=one))).refused
        assert not (await store.decided(reservation(2, amount_minor=10**12, limits=large))).refused
        assert (await store.decided(reservation(3, amount_minor=500, limits=one))).refused
        assert (await store.decided(reservation(3, amount_minor=10**12, limits=large))).refused
        # The second of two limits refuses as well as the first.
        assert (await store.decided(reservation(3, limits=(Limit(DAY, 99), *one)))).refused

    tell(story)


def test_a_reservation_of_the_future_counts_at_once_and_the_past_ends(tell) -> None:
    async def story(store: FeatureStore) -> None:
        month = (Limit(30 * DAY, 1),)
        assert not (await store.decided(reservation(1, START + 20 * DAY, limits=month))).refused
        assert (await store.decided(reservation(2, START, limits=month))).refused
        assert (await store.decided(reservation(2, START + 50 * DAY - 1, limits=month))).refused
        assert not (await store.decided(reservation(2, START + 50 * DAY, limits=month))).refused

    tell(story)


def test_an_outcome_moves_state_standings_ledger_and_record_once(tell) -> None:
    async def story(store: FeatureStore) -> None:
        await store.decided(decision())
        settled = entry(1)._replace(status=APPROVED)
        result = result_increment(START + 1, "approved")
        event = Applied(
            "r1",
            [Update("card", "tok_1", result)],
            [StandingUpdate(key, NOTE) for key in STANDINGS],
            LedgerMove(LEDGER, settled.attempt, settled),
            [Kept(key, b"settled", 60) for key in RECORDS],
        )
        assert await store.apply_many([event]) == [True]
        states = await store.read(KEYS)
        assert states.payment == (add(LAYOUTS["card"], CARD, result),)
        assert states.standings == (standing.add(None, NOTE),) * 3
        assert states.ledger == ledger.pack([settled])
        assert [await store.recall([key]) for key in RECORDS] == [b"settled", b"settled"]
        other = LedgerMove(LEDGER, settled.attempt, settled._replace(status=FAILED))
        repeated = event._replace(ledger=other, records=[Kept(RECORDS[1], b"again", 60)])
        assert await store.apply_many([repeated, repeated]) == [False, False]
        assert await store.read(KEYS) == states

    tell(story)


def test_a_result_revised_takes_back_and_adds_in_one_event(tell) -> None:
    async def story(store: FeatureStore) -> None:
        timeout, approved = result_increment(START + 1, "timeout"), result_increment(START + HOUR, "approved")
        wrong, right = Note(START + 1, fault=True), Note(START + HOUR, approved=True, expected=0.5, amount_minor=9)
        await store.apply_many([Applied("r1", [Update("card", "tok_1", timeout)], [StandingUpdate("p:north", wrong)])])
        both = [taken_back(timeout), approved]
        notes = [wrong._replace(sign=-1), right]
        revised = Applied(
            "r2",
            [Update("card", "tok_1", increment) for increment in both],
            [StandingUpdate("p:north", note) for note in notes],
        )
        assert await store.apply_many([revised, revised]) == [True, False]
        states = await store.read(KEYS)
        expected = None
        for increment in (timeout, *both):
            expected = add(LAYOUTS["card"], expected, increment)
        assert states.payment == (expected,)
        sums = standing.read(states.standings[0], START + HOUR)
        alone = standing.read(standing.add(None, right), START + HOUR)
        assert sums is not None
        assert alone is not None
        assert sums.values == pytest.approx(alone.values, rel=1e-9, abs=1e-12)
        assert sums.month_minor == 9

    tell(story)


def test_the_first_of_many_answers_is_everybodys(tell) -> None:
    async def story(store: FeatureStore) -> None:
        given = [
            decision(1, b"%d" % number)._replace(event_id=f"e{number}", reservation=reserving)
            for number, reserving in enumerate([None, Reservation(LEDGER, entry(1), TWO)] * 16)
        ]
        claims = await asyncio.gather(*[store.decided(each) for each in given])
        answer = (await store.read(KEYS)).answer
        assert answer is not None
        assert sum(claim.counted for claim in claims) == 1
        assert {claim.answer for claim in claims if not claim.counted} == {answer}
        assert claims[int(answer)].counted
        assert (await store.read(KEYS)).payment == (CARD,)

    tell(story)
