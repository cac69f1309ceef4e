"""The agent: it represents a scan, finds its types of microstructure and recommends where to measure.

A notebook needs `from agent import analyze, History`; both are loaded on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.api import analyze
    from agent.reporting.notebook import Analysis, History

__all__ = ["Analysis", "History", "analyze"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to load, and the command line and the adapters import this package without needing it.
    if name == "analyze":
        from agent.api import analyze

        return analyze
    if name in ("Analysis", "History"):
        from agent.reporting import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'agent' has no attribute {name!r}")
