"""Which of the key points may be measured, and in which order: pure functions of positions, clusters and features."""
