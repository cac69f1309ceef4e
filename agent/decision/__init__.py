"""From a scan to a decision: the whole flow on one page, and what is written down of it."""
