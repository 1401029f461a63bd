"""What the baselines are given of the history: rates by processor, network and country, and the latest results.

This module must not know who uses them.
"""

from typing import Final, NamedTuple

import polars as pl

LATEST: Final = 125


class Tail(NamedTuple):
    """Results and approvals of first attempts, and the latest results of all.

    Attributes
    ----------
    segments
        (results, approvals) by processor, network and the shop's country.
    networks
        The same by processor and network.
    latest
        Approved or not, the latest `LATEST` in order, by processor and network.
    """

    segments: dict[tuple[str, str, str], tuple[int, int]]
    networks: dict[tuple[str, str], tuple[int, int]]
    latest: dict[tuple[str, str], tuple[bool, ...]]


def tail(history: pl.LazyFrame) -> Tail:
    """Return what a canonical history leaves behind."""
    first = history.filter(pl.col("attempt") == 1).with_columns(approved=pl.col("status") == "approved")
    counts = [pl.len().alias("results"), pl.col("approved").sum()]
    keys = ["processor", "card_network", "merchant_country"]
    segments = first.group_by(keys).agg(counts).collect()
    networks = first.group_by(keys[:2]).agg(counts).collect()
    latest = (
        history.sort("settled_at")
        .group_by(keys[:2])
        .agg((pl.col("status") == "approved").tail(LATEST).alias("results"))
        .collect()
    )
    return Tail(
        {
            (name, network, country): (results, approved)
            for name, network, country, results, approved in segments.rows()
        },
        {(name, network): (results, approved) for name, network, results, approved in networks.rows()},
        {(name, network): tuple(results) for name, network, results in latest.rows()},
    )
