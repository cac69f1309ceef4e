"""Invariant variational autoencoders, trained by hand-written gradients; the only home of PyTorch in the agent."""
