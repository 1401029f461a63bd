"""The catalog over histories of any size: on one machine with Polars, past one machine with Spark."""
