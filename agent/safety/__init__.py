"""What may be measured, who approves it, pause and emergency stop."""
