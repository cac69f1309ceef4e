"""Where tasks of a search run: the calling thread, spawned processes, a Dask cluster."""
