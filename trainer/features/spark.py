"""The features of a history on Spark: the same plan, run by the workers of a cluster, one partition of keys at a time.

Each kind of entity is shuffled by its key once (and by slices of time where a key has too many attempts), computed by
``trainer.features.partition`` in Arrow, and joined to the attempts by their number. This module loads PySpark;
``trainer.features.prerequisites`` says first whether it can.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, FloatType, LongType, StringType, StructField, StructType, TimestampType

from contracts.history import COLUMNS, REQUIRED, STATUSES, ColumnKind
from features.encoding import Encodings
from features.entity import FIELDS
from features.offline.plan import request_features
from features.spec import FeatureSpec
from trainer.errors import FeaturesError, HistoryError
from trainer.features.partition import window_features
from trainer.features.prerequisites import GATEWAY
from trainer.features.selection import IDENTITY, ORDER, Selection, event_columns, feature_columns
from trainer.features.single import ROWS, Done
from trainer.features.slices import ASKED, PART, TASK, Ints, Slices, Slicing, Span, cut
from trainer.progress import step

_TYPES: Final[dict[ColumnKind, str]] = {
    "string": "string",
    "int": "bigint",
    "float": "double",
    "bool": "boolean",
    "time": "timestamp",
}

_LOCAL: Final = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.log.level": "ERROR",
    # Instead of 200, which is for a cluster: 200 tasks a shuffle take minutes on two cores, however little is in them.
    "spark.sql.shuffle.partitions": "8",
}

_SESSION: Final = {
    # As the history's own times; a float that is not a number would be an error anyway.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


@contextmanager
def session(master: str | None, scratch: Path | None) -> Iterator[SparkSession]:
    """Start Spark on this machine (or at `master`) and stop it; where there is a session already, borrow that one.

    Parameters
    ----------
    master
        URL of a Spark; None is this machine with all its cores.
    scratch
        Folder for what does not fit in memory; None leaves it where Spark puts it.
    """
    borrowed = is_borrowed()
    builder = SparkSession.builder.appName("pointsman features")
    if not borrowed:
        # Workers must be of this environment, whatever "python3" is on PATH.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        options = {**_LOCAL, "spark.driver.memory": f"{heap_mib()}m"}
        if scratch is not None:
            options |= {"spark.local.dir": str(scratch), "spark.sql.warehouse.dir": str(scratch / "warehouse")}
        builder = builder.master(master or "local[*]")
        for name, value in options.items():
            builder = builder.config(name, value)
    spark = builder.getOrCreate()
    before = {name: spark.conf.get(name) for name in _SESSION}
    try:
        for name, value in _SESSION.items():
            spark.conf.set(name, value)
        yield spark
    finally:
        if borrowed:
            for name, old in before.items():
                spark.conf.set(name, str(old))
        else:
            spark.stop()


def heap_mib() -> int:
    """Return the memory for Java on this machine: a quarter of it, for Python computes beside it; 1 GiB at least."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1024, pages // (4 << 20))


def is_borrowed() -> bool:
    """Tell whether somebody else started Spark: spark-submit, or a notebook."""
    return GATEWAY in os.environ or SparkSession.getActiveSession() is not None


def compute(
    spark: SparkSession,
    source: str,
    selection: Selection,
    out: str,
    *,
    partitions: int | None,
    slicing: Slicing,
    own: bool,
) -> Done:
    """Write the features of every attempt of the history at `source` to `out`, which is not there yet.

    Parameters
    ----------
    spark
        A session.
    source, out
        Paths or URLs, as Spark reads and writes them.
    selection
        Which features.
    partitions
        Into how many parts the rows of a kind of entity are divided; None takes one for every `ROWS`.
    slicing
        Which parts are cut by time.
    own
        Whether the session was started for this alone: then its shuffles are made as wide as there are parts.

    Raises
    ------
    HistoryError
        When the history cannot be read, is empty, or breaks its contract.
    FeaturesError
        When Spark fails.
    """
    try:
        with step("read and order the attempts"):
            history = conform(spark.read.option("mergeSchema", "true").parquet(source))
            check(history, source)
            attempts = numbered(history.select(*selection.columns))
            day = F.unix_date(F.to_date("occurred_at"))
            rows, *days = attempts.agg(F.count("*"), F.min(day), F.max(day)).collect()[0]
        parts = partitions or -(-rows // ROWS)
        if own:
            spark.conf.set("spark.sql.shuffle.partitions", str(max(parts, spark.sparkContext.defaultParallelism)))
        result = attempts.select("row", *_own_columns(selection)).mapInArrow(
            _own(selection.own, selection.encodings), _schema(selection.own, identity=True)
        )
        with step("count the attempts of each part"):
            sizes = sizes_of(attempts, selection.kinds, parts)
        largest, were_cut, slices = (0, ""), 0, 0
        for kind, specs in selection.kinds.items():
            events = attempts.select("row", *event_columns(kind), part(kind, parts).alias(PART)).where(
                f"{PART} is not null"
            )
            of_kind = sizes[kind]
            sliced = cut(kind, specs, slicing, of_kind, Span(*days), partial(_rows_by_day, events))
            if sliced is None:
                tasks = events.withColumnRenamed(PART, TASK)
            else:
                were_cut, slices = were_cut + sliced.parts, slices + sliced.slices
                with step(
                    f"{kind}: {sliced.parts} parts of up to {of_kind.max():,} attempts, cut into {sliced.slices} slices"
                ):
                    of_kind = _sizes_of_tasks(events, sliced)
                tasks = events.mapInArrow(_spread(sliced), _spread_schema(events))
            largest = max(largest, (int(of_kind.max()), kind))
            computed = tasks.groupBy(TASK).applyInArrow(_windows(kind, specs), _schema(specs))
            result = result.join(computed, on="row", how="left")
        defaults = {spec.name: spec.default for spec in selection.specs}
        columns = [
            F.coalesce(F.col(f"`f:{name}`"), F.lit(value).cast("float")).alias(f"f:{name}")
            for name, value in defaults.items()
        ]
        with step(f"compute and write {rows:,} attempts in {parts} parts of up to {largest[0]:,} ({largest[1]})"):
            result.sort("row").select(*IDENTITY, *columns).write.mode("errorifexists").parquet(out)
        attempts.unpersist()
    except PySparkException as error:
        msg = f"Spark failed: {_first_line(str(error))}"
        raise FeaturesError(msg) from error
    except Py4JJavaError as error:
        msg = f"Spark failed: {_first_line(str(error.java_exception))}"
        raise FeaturesError(msg) from error
    return Done(rows, parts, were_cut, slices, *largest)


def conform(frame: DataFrame) -> DataFrame:
    """Return `frame` with exactly the canonical columns: the twin of ``trainer.history.conform``."""
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        msg = f"expected a history with the columns {', '.join(REQUIRED)}; {', '.join(missing)} is missing"
        raise HistoryError(msg)
    columns = [
        (F.col(name) if name in frame.columns else F.lit(None)).cast(_TYPES[kind]).alias(name)
        for name, kind in COLUMNS.items()
    ]
    waited = F.coalesce(F.col("latency_ms"), F.lit(0)) * 1000
    answered = F.timestamp_micros(F.unix_micros("occurred_at") + waited)
    return frame.select(*columns).withColumn("settled_at", F.coalesce("settled_at", answered))


def check(history: DataFrame, source: str) -> None:
    """Refuse a history without attempts, with nulls in required columns, or with a status that is none."""
    strange = F.sum((~F.col("status").isin(*STATUSES)).cast("int"))
    found = history.agg(
        F.count("*").alias("rows"),
        *(F.sum(F.col(name).isNull().cast("bigint")).alias(name) for name in REQUIRED),
        strange.alias("strange"),
    ).collect()[0]
    if not found["rows"]:
        msg = f"expected a history with attempts, {source} has none"
        raise HistoryError(msg)
    for name in REQUIRED:
        if found[name]:
            msg = f"expected {name} in every row, {found[name]:,} of {found['rows']:,} have none"
            raise HistoryError(msg)
    if found["strange"]:
        msg = f"expected each status to be one of {', '.join(STATUSES)}, {found['strange']:,} of {found['rows']:,} rows differ"
        raise HistoryError(msg)


def numbered(history: DataFrame) -> DataFrame:
    """Return the attempts in order with `row`, a number that grows with `ORDER` (and has gaps), kept on the workers' disks.

    Kept, because a number that is made twice may not be the same twice.
    """
    return history.sort(*ORDER).withColumn("row", F.monotonically_increasing_id()).persist(StorageLevel.DISK_ONLY)


def sizes_of(attempts: DataFrame, kinds: Iterable[str], parts: int) -> dict[str, Ints]:
    """Return how many rows each part of each kind has, shape (parts,)."""
    names = list(kinds)
    each = F.array(*(F.struct(F.lit(kind).alias("kind"), part(kind, parts).alias("part")) for kind in names))
    rows = attempts.select(F.explode(each).alias("of")).where("of.part is not null").groupBy("of.kind", "of.part")
    sizes = {kind: np.zeros(parts, dtype=np.int64) for kind in names}
    for kind, number, count in _frame(rows.count()).iter_rows():
        sizes[kind][number] = count
    return sizes


def _frame(found: DataFrame) -> pl.DataFrame:
    frame = pl.from_arrow(found.toArrow())
    assert isinstance(frame, pl.DataFrame)
    return frame


def _rows_by_day(events: DataFrame, parts: list[int]) -> pl.DataFrame:
    day = F.unix_date(F.to_date("occurred_at")).alias("day")
    return _frame(events.where(F.col(PART).isin(parts)).groupBy(PART, day).agg(F.count("*").alias("rows")))


def _spread(slices: Slices) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def computed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield from slices.spread(frame.lazy()).collect().to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()

    return computed


def _spread_schema(events: DataFrame) -> StructType:
    kept = [field for field in events.schema.fields if field.name != PART]
    return StructType([*kept, StructField(TASK, LongType()), StructField(ASKED, BooleanType())])


def _sizes_of_tasks(events: DataFrame, slices: Slices) -> Ints:
    """Return how many rows each task is given, in no order; those without any are left out."""

    def counted(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            of_tasks = slices.spread(frame.lazy()).group_by(TASK).agg(pl.len().cast(pl.Int64).alias("rows"))
            yield from of_tasks.collect().to_arrow().to_batches()

    narrow = events.select(PART, "occurred_at", "settled_at", "chargeback_at")
    counts = narrow.mapInArrow(counted, f"{TASK} bigint, rows bigint").groupBy(TASK).agg(F.sum("rows").alias("rows"))
    return _frame(counts)["rows"].to_numpy()


def part(kind: str, parts: int) -> Column:
    """Return the part of a row by its key of this kind, null for a row without such an entity.

    Keys are not dealt out by their rows, as on one machine: with thousands of parts few keys share one, and a key that is
    too large is too large alone.
    """
    names = FIELDS[kind]
    there = F.lit(True)
    for name in names:
        there = there & F.col(name).isNotNull()
    return F.when(there, F.pmod(F.xxhash64(*names), F.lit(parts)).cast("int"))


def _windows(kind: str, specs: tuple[FeatureSpec, ...]) -> Callable[[pa.Table], pa.Table]:
    def computed(attempts: pa.Table) -> pa.Table:
        frame = pl.from_arrow(attempts.drop_columns([TASK]))
        assert isinstance(frame, pl.DataFrame)
        return window_features(frame, kind, specs).to_arrow()

    return computed


def _own_columns(selection: Selection) -> list[str]:
    wanted = {*IDENTITY, *(name for spec in selection.own for name in spec.inputs)}
    return [name for name in selection.columns if name in wanted]


def _own(
    specs: tuple[FeatureSpec, ...], encodings: Encodings
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def computed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            queries = frame.lazy().with_columns(at=pl.col("occurred_at").dt.timestamp("us"))
            made = request_features(queries, encodings, specs).drop("row").collect()
            whole = pl.concat([frame.select("row", *IDENTITY), made], how="horizontal")
            # Text as Spark reads it; Polars would hand over views.
            yield from whole.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()

    return computed


def _schema(specs: tuple[FeatureSpec, ...], *, identity: bool = False) -> StructType:
    types = {"occurred_at": TimestampType(), "attempt": LongType()}
    named = [StructField(name, types.get(name, StringType())) for name in IDENTITY] if identity else []
    return StructType(
        [StructField("row", LongType()), *named, *(StructField(name, FloatType()) for name in feature_columns(specs))]
    )


def _first_line(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "no reason given")
