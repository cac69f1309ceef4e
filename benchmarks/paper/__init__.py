"""The paper's analysis repeated."""
