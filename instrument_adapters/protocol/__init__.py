"""The wire: messages, codec, keys."""
