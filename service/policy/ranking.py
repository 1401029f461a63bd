"""The ranking of an answer: every candidate asked about, the best first, those that may not be chosen last.

This module must not know how candidates were weighed.
"""

from contracts.decision import Mode, RankedProcessor
from service.policy.candidate import Candidate
from service.policy.lineup import Lineup


def ranking(lineup: Lineup, odds: list[float]) -> tuple[RankedProcessor, ...]:
    """Return every candidate as an answer shows it: those in the running first, best first, each with its propensity."""
    ranked = [_entry(candidate, propensity) for candidate, propensity in zip(lineup.running, odds, strict=True)]
    if lineup.out or lineup.refused:
        last = [(candidate.index, _entry(candidate, 0.0)) for candidate in lineup.out]
        last += [
            (
                index,
                RankedProcessor(
                    processor=processor,
                    approval_probability=0.0,
                    cost_minor=0,
                    expected_value_minor=0.0,
                    propensity=0.0,
                    eligible=False,
                    reasons=(code,),
                ),
            )
            for index, processor, code in lineup.refused
        ]
        last.sort(key=_by_index)
        ranked += [entry for _, entry in last]
    return tuple(ranked)


def _entry(candidate: Candidate, propensity: float) -> RankedProcessor:
    best = candidate.best
    ways = candidate.ways
    return RankedProcessor(
        processor=candidate.processor,
        approval_probability=best.probability,
        cost_minor=round(best.cost),
        expected_value_minor=best.value,
        propensity=propensity,
        eligible=not candidate.codes,
        reasons=candidate.codes,
        modes=()
        if len(ways) == 1
        else tuple(
            [
                Mode(
                    authentication=one.way.label,
                    credential=one.way.credential,
                    approval_probability=one.probability,
                    expected_value_minor=one.value,
                )
                for one in ways
            ]
        ),
    )


def _by_index(entry: tuple[int, RankedProcessor]) -> int:
    return entry[0]
