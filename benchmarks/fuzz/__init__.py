"""Hostile input at scale: what goes in, what must never come out, and how much of the edge it reached.

``python -m benchmarks.fuzz`` sends bodies through the whole service in process; ``python -m benchmarks.fuzz.served`` lets
Schemathesis loose on a served OpenAPI document.
"""
