"""The edge: HTTP bytes to typed requests and back. No room behind it knows HTTP."""
