"""Workers that run the tasks of a search: the calling thread, spawned processes, or a Dask cluster."""
