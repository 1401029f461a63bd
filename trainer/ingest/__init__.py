"""Ingest: a shop's own payment files, through one small mapping, into the canonical history."""
