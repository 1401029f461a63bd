"""Bundles on disk: written whole or not at all, one of them active, every activation remembered."""
