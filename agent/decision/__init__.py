"""From a scan to a decision: the whole flow in one file, and the record of its result."""
