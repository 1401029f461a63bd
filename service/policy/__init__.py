"""What to do with a payment: pure choices over probabilities, dated rules and the bundle's parameters.

Contracts in, plain values out. Nothing here reads a clock, a socket or the environment; rule files are read once, at
start.
"""
