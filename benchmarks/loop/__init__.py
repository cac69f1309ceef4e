"""How many measurements the closed loop saves."""
