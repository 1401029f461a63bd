"""How fast, how good, against whom. No product code lives here; `README.md` says how to read the figures."""
