"""The page on which a person watches the agent and says yes or no: view data from the history, and static files."""
