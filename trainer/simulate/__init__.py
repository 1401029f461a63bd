"""The simulator: a small world of shops, cards, issuers and processors whose truth is known."""
