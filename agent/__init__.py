"""The agent: it looks at a scan, chooses a representation of it and says where to measure.

`from agent import analyze, History` is what a notebook needs; both are loaded when they are asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.api import analyze
    from agent.reporting.notebook import Analysis, History

__all__ = ["Analysis", "History", "analyze"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to load, and the command line and the adapters import this package for less.
    if name == "analyze":
        from agent.api import analyze

        return analyze
    if name in ("Analysis", "History"):
        from agent.reporting import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'agent' has no attribute {name!r}")
