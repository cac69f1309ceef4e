"""How stable and how good the choice of a representation is."""
