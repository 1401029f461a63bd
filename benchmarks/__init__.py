"""How fast, how good, against whom. No product code lives here."""
