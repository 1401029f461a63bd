"""What crosses a wall: wire types, events, the history table and the bundle manifest.

Only nouns live here. Nothing in this room acts, and it imports nothing but msgspec and the standard library.
"""
