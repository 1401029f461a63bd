"""Had another policy answered the questions of a journal: what it would have chosen, and what that would have been worth."""
