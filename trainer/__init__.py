"""The batch side of Pointsman: history in, four models out."""
