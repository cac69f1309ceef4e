"""What the agent cannot do with what it was given, one exception per kind; messages are shown to people as they stand."""


class AgentError(Exception):
    """Base of all errors raised by the agent."""


class UnusableScanError(AgentError, ValueError):
    """The scan holds nothing that could be represented: no contrast, too few valid pixels, too small, too few walls."""


class PluginError(AgentError, ImportError):
    """A user's own reward or key-point method could not be found, or did not do what its contract says."""


class SearchCancelledError(AgentError, RuntimeError):
    """The search was stopped from outside, by a newer scan or by a person."""
