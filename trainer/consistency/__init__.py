"""Were the vectors that decisions were made of the ones that the history gives? Logged vectors against recomputed ones."""
