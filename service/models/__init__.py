"""The models of the active bundle: verified, warmed, swapped by one assignment."""
