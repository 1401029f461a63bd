"""What a payment looks like to a model: ONE definition of each feature, served online and computed offline.

Nothing here does I/O. Polars is imported only under ``features.offline``.
"""
