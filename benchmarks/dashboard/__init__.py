"""The page timed and photographed."""
