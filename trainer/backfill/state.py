"""Packed states computed from a history in bulk: byte for byte what the store would hold after living through it.

`features.state.add` is the definition; here the same numbers come from sums per entity and tile. Decayed sums alone are
added up in another order and differ in the last digits.

This module must not know where the states are written.
"""

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from features.increment import CODES
from features.layout import AMOUNT, LAYOUTS, MEASURES, WORD, Layout
from features.offline.increments import AT, KEY, MEMBER, RESULT, increments, key
from trainer.backfill.parts import Part, parts

Item = tuple[str, str, bytes]

TILE: Final = "_tile"
_CODE: Final = "_code_of_key"
_CODES: Final = 8
_AMOUNTS: Final = 1 << 64
_APPROVED: Final = CODES["approved"]
_TECHNICAL: Final = CODES["technical"]
_DECAYED: Final = ("_decayed_results", "_decayed_approved", "_decayed_technical")

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]


def states(history: pl.LazyFrame, now: int) -> Iterator[Item]:
    """Yield (kind, key, state) of every entity that any window still sees at `now` (microseconds).

    What becomes known at or after `now` is left out.
    """
    for part in parts(history):
        yield from part_states(history, part, now)


def part_states(history: pl.LazyFrame, part: Part, now: int) -> Iterator[Item]:
    """Yield the states of one part; see `states`.

    Parameters
    ----------
    history
        The canonical history (``contracts.history``) with `settled_at` filled.
    part
        Which keys of which kind.
    now
        Microseconds.
    """
    layout = LAYOUTS[part.kind]
    plans = _plans(history.filter(part.holds()), layout, now)
    found = dict(zip(plans, pl.collect_all(plans.values(), engine="streaming"), strict=True))
    entities = _entities(found["tiles"], layout, now)
    if entities.is_empty():
        return
    tiles = found["tiles"].join(entities.select(KEY, _CODE, "newest"), on=KEY).drop(KEY).sort(_CODE, TILE)
    rows = _Rows(layout, tiles, len(entities))
    attempts = _of(entities, found.get("attempts"))
    members = _members(entities, found.get("members"), layout)
    streak = _streak(entities, found.get("streak"))
    head = _heads(layout, entities, rows, attempts)
    head["members"], head["streak"] = members[0], streak[0]
    bodies = (rows.kept, rows.tiles, rows.words), members, streak
    yield from _packed(part.kind, entities[KEY], head, bodies)


def _plans(history: pl.LazyFrame, layout: Layout, now: int) -> dict[str, pl.LazyFrame]:
    """Return what must be known of a part, each as one plan over its rows."""
    events = (
        increments(history, layout.kind).filter(pl.col(AT) < now).with_columns((pl.col(AT) // layout.hop).alias(TILE))
    )
    weight = 2.0 ** ((pl.col(AT) - (pl.col(TILE) + 1) * layout.hop).cast(pl.Float64) / float(layout.half_life))
    is_result, code = pl.col(RESULT) > 0, pl.col(RESULT)
    one = {"results": is_result, "approved": code == _APPROVED, "technical": code == _TECHNICAL}
    plans = {
        "tiles": events.group_by(KEY, TILE).agg(
            *(pl.col(name).cast(pl.Int64).sum() for name in layout.measures),
            pl.when(is_result).then(pl.col(AT) * _CODES + code).max().fill_null(0).alias("_result"),
            pl.when(code == _APPROVED).then(pl.col(AT)).max().fill_null(0).alias("_approved"),
            *(
                pl.when(flag).then(weight).otherwise(0.0).sum().alias(name)
                for name, flag in zip(_DECAYED, one.values(), strict=True)
            ),
        )
    }
    if "attempts" in layout.measures:
        decided = history.select(
            key(layout.kind).alias(KEY),
            pl.col("occurred_at").dt.timestamp("us").alias(AT),
            pl.col("amount_minor"),
            (pl.col(layout.distinct) if layout.distinct else pl.lit(None, dtype=pl.String)).alias(MEMBER),
        ).filter(pl.col(AT) < now)
        # Of several attempts at one moment the largest amount is the last.
        latest = (
            (pl.col(AT).cast(pl.Int128) * pl.lit(_AMOUNTS, dtype=pl.Int128) + pl.col("amount_minor").cast(pl.Int128))
            .max()
            .alias("_latest")
        )
        plans["attempts"] = decided.group_by(KEY).agg(latest)
        if layout.distinct:
            seen = decided.filter(pl.col(MEMBER).is_not_null()).group_by(KEY, MEMBER)
            plans["members"] = seen.agg((pl.col(AT).max() // layout.hop).alias(TILE))
    if layout.streak:
        approved = events.filter(code == _APPROVED).group_by(KEY).agg(pl.col(AT).max().alias("_since"))
        declined = events.filter(pl.col("declined") > 0).select(KEY, AT).join(approved, on=KEY, how="left")
        after = declined.filter(pl.col(AT) > pl.col("_since").fill_null(0))
        plans["streak"] = after.group_by(KEY).agg(pl.col(AT).top_k(layout.streak).sort(descending=True))
    return plans


def _entities(tiles: pl.DataFrame, layout: Layout, now: int) -> pl.DataFrame:
    """Return the entities that the longest window still sees, in the order of their keys, numbered."""
    longest = layout.rings[-1]
    start = (now - layout.horizon) // longest.hop * (longest.hop // layout.hop)
    found = tiles.group_by(KEY).agg(
        pl.col(TILE).max().alias("newest"), pl.col("_result").max(), pl.col("_approved").max()
    )
    return found.filter(pl.col("newest") >= start).sort(KEY).with_row_index(_CODE)


class _Rows:
    """The rows that each entity keeps, one after the other, and its sums.

    Attributes
    ----------
    kept
        How many rows each entity keeps, shape (entities,).
    tiles, words
        Of the rows kept: their tiles (n,), and the words of the sums before each (n, words), as they lie in a blob.
    sums
        Words of everything ever added, shape (entities, words).
    decayed
        Decayed sums as of the last result, shape (entities, 3).
    """

    def __init__(self, layout: Layout, tiles: pl.DataFrame, entities: int) -> None:
        code: Ints = tiles[_CODE].to_numpy().astype(np.int64)
        tile: Ints = tiles[TILE].to_numpy()
        first = np.searchsorted(code, np.arange(entities))
        kept = _kept(layout, code, tile, tiles["newest"].to_numpy())
        self.kept = np.bincount(code[kept], minlength=entities)
        self.tiles = tile[kept].astype("<i4")
        self.words = np.empty((len(self.tiles), layout.words), dtype="<u4")
        self.sums = np.empty((entities, layout.words), dtype="<u4")
        for name in layout.measures:
            added: Words = tiles[name].to_numpy().astype(np.uint64)
            # All arithmetic is modulo 2^64; what came of earlier entities is taken off again.
            until = np.cumsum(added, dtype=np.uint64)
            before = until - added
            base = before[first]
            ends = np.append(first[1:], len(code)) - 1
            place = layout.place[name]
            _put(self.words, place, before[kept] - base[code[kept]], wide=name == MEASURES[AMOUNT])
            _put(self.sums, place, until[ends] - base, wide=name == MEASURES[AMOUNT])
        self.decayed = self._decayed(layout, tiles, code, tile, entities)

    @staticmethod
    def _decayed(layout: Layout, tiles: pl.DataFrame, code: Ints, tile: Ints, entities: int) -> npt.NDArray[np.float64]:
        latest = np.zeros(entities, dtype=np.int64)
        np.maximum.at(latest, code, tiles["_result"].to_numpy() // _CODES)
        results: npt.NDArray[np.float64] = tiles[_DECAYED[0]].to_numpy()
        # Each tile's sum is as of its end; one without a result weighs nothing, whenever the entity's last one was.
        apart = np.where(results > 0, (tile + 1) * layout.hop - latest[code], 0)
        weight = np.exp2(apart / float(layout.half_life))
        columns = [np.bincount(code, tiles[name].to_numpy() * weight, minlength=entities) for name in _DECAYED]
        return np.stack(columns, axis=1)


def _put(words: npt.NDArray[np.uint32], place: int, values: Words, *, wide: bool) -> None:
    """Write a column of sums: one word, or two for an amount."""
    words[:, place] = values % WORD
    if wide:
        words[:, place + 1] = values // np.uint64(WORD)


def _kept(layout: Layout, code: Ints, tile: Ints, newest: Ints) -> Flags:
    """Tell which tiles some ring keeps: the first of each hop that is not too old (`features.layout`)."""
    kept: Flags = np.zeros(len(tile), dtype=np.bool_)
    for ring in layout.rings:
        per_hop = ring.hop // layout.hop
        hop = tile // per_hop
        first = np.ones(len(tile), dtype=np.bool_)
        first[1:] = (hop[1:] != hop[:-1]) | (code[1:] != code[:-1])
        kept |= first & (hop >= newest // per_hop - ring.reach // ring.hop)
    return kept


def _of(entities: pl.DataFrame, found: pl.DataFrame | None) -> pl.DataFrame:
    """Return time and amount of each entity's last attempt, zeros for none."""
    if found is None:
        return pl.DataFrame({"at": [0], "amount": [0]}, schema={"at": pl.Int64, "amount": pl.Int64})
    latest = entities.select(KEY).join(found, on=KEY, how="left", maintain_order="left")
    scale = pl.lit(_AMOUNTS, dtype=pl.Int128)
    known = pl.col("_latest").fill_null(pl.lit(0, dtype=pl.Int128))
    return latest.select(at=(known // scale).cast(pl.Int64), amount=(known % scale).cast(pl.Int64))


Tail = tuple[npt.NDArray[np.int64], npt.NDArray[np.void] | Ints]
"""How many entries each entity has, and the entries of all, one after the other."""


def _members(entities: pl.DataFrame, found: pl.DataFrame | None, layout: Layout) -> Tail:
    """Return the different values each entity's attempts named last."""
    form = np.dtype([("member", "<u4"), ("tile", "<i4")])
    if found is None:
        return np.zeros(len(entities), dtype=np.int64), np.empty(0, dtype=form)
    values = found[MEMBER].unique()
    crcs = pl.Series("_crc", [zlib.crc32(value.encode()) for value in values], dtype=pl.Int64)
    known = found.join(pl.DataFrame({MEMBER: values, "_crc": crcs}), on=MEMBER).join(
        entities.select(KEY, _CODE), on=KEY
    )
    # Two values of one checksum are one member.
    known = known.group_by(_CODE, "_crc").agg(pl.col(TILE).max())
    known = known.sort(_CODE, TILE, "_crc", descending=[False, True, True])
    known = known.filter(pl.int_range(pl.len()).over(_CODE) < layout.members)
    entries = np.empty(len(known), dtype=form)
    entries["member"], entries["tile"] = known["_crc"].to_numpy(), known[TILE].to_numpy()
    return np.bincount(known[_CODE].to_numpy(), minlength=len(entities)), entries


def _streak(entities: pl.DataFrame, found: pl.DataFrame | None) -> Tail:
    """Return the declines of each entity after its last approval."""
    if found is None:
        return np.zeros(len(entities), dtype=np.int64), np.empty(0, dtype="<i8")
    known = found.join(entities.select(KEY, _CODE), on=KEY).sort(_CODE)
    lengths = np.zeros(len(entities), dtype=np.int64)
    lengths[known[_CODE].to_numpy()] = known[AT].list.len().to_numpy()
    return lengths, known[AT].explode().to_numpy().astype("<i8")


def _heads(layout: Layout, entities: pl.DataFrame, rows: _Rows, attempts: pl.DataFrame) -> npt.NDArray[np.void]:
    """Return the fixed part of each entity's blob."""
    form = np.dtype(
        [
            ("mark", "u1", (6,)),
            ("rows", "<u2"),
            ("members", "u1"),
            ("streak", "u1"),
            ("sums", "<u4", (layout.words,)),
            ("last", "<i8", (4,)),
            ("code", "u1"),
            ("decayed", "<f8", (3,)),
        ]
    )
    assert form.itemsize == layout.head_size
    head = np.zeros(len(entities), dtype=form)
    result = entities["_result"].to_numpy()
    head["mark"] = np.frombuffer(layout.mark, dtype=np.uint8)
    head["rows"] = rows.kept
    head["sums"] = rows.sums
    head["last"][:, 0] = attempts["at"].to_numpy()
    head["last"][:, 1] = attempts["amount"].to_numpy()
    head["last"][:, 2] = result // _CODES
    head["last"][:, 3] = entities["_approved"].to_numpy()
    head["code"] = result % _CODES
    head["decayed"] = rows.decayed
    return head


def _packed(
    kind: str,
    keys: pl.Series,
    head: npt.NDArray[np.void],
    bodies: tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.uint32]], Tail, Tail],
) -> Iterator[Item]:
    """Yield each entity's blob, cut out of the arrays of all."""
    (kept, tiles, words), (members, member), (streak, decline) = bodies
    size, wide = head.dtype.itemsize, 4 * words.shape[1]
    heads, tiles_, rows_ = (memoryview(array.tobytes()) for array in (head, tiles, words))
    members_, streak_ = memoryview(member.tobytes()), memoryview(decline.tobytes())
    ends = [np.cumsum(counts).tolist() for counts in (kept, members, streak)]
    row = entry = time = 0
    for number, (named, *until) in enumerate(zip(keys, *ends, strict=True)):
        blob = b"".join(
            (
                heads[size * number : size * (number + 1)],
                tiles_[4 * row : 4 * until[0]],
                rows_[wide * row : wide * until[0]],
                members_[8 * entry : 8 * until[1]],
                streak_[8 * time : 8 * until[2]],
            )
        )
        row, entry, time = until
        yield kind, named, blob
