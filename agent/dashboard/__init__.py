"""The dashboard, where an operator watches the agent and approves decisions: view data from the history, and static files."""
