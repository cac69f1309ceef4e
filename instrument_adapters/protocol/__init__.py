"""The wire protocol: messages, codec and keys."""
