"""What the closed loop is worth in measurements saved."""
