"""The journal: every answer given and every outcome reported, durable and in order."""
