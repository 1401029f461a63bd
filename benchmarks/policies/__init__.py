"""Pointsman against other ways of routing and retrying, on the same simulated payments with the same fates.

What is compared, and how to read the figures: docs/policies.md.
"""
