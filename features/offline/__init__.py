"""The features of a whole history at once, as one lazy Polars plan."""
