"""What pydantic says about an invalid value, in the words of the other messages: what is to be given."""

import re

_NUMBER = r"[^\s,;]+"
_PLAIN = (
    (r"Input should be a valid integer.*", "give a whole number"),
    (r"Input should be a valid number.*", "give a number"),
    (r"Input should be a finite number", "give a finite number"),
    (r"Input should be a valid string", "give text, in quotes"),
    (r"Input should be a valid boolean.*", "give true or false"),
    (r"Input should be a valid (?:tuple|list|set)", "give a list, such as [1, 2]"),
    (r"Input should be a valid dictionary.*", "give a table"),
    (rf"Input should be greater than or equal to ({_NUMBER})", r"give \1 or more"),
    (rf"Input should be less than or equal to ({_NUMBER})", r"give \1 or less"),
    (rf"Input should be greater than ({_NUMBER})", r"give more than \1"),
    (rf"Input should be less than ({_NUMBER})", r"give less than \1"),
    (r"(?:Tuple|List) should have at least (\d+) items?.*", r"give at least \1"),
    (r"Input should be ", "give "),
    (r"Value error, ", ""),
)


def allowed(message: str) -> str:
    """The message of a validation error, in plain words; other texts are returned as they are."""
    for pattern, plain in _PLAIN:
        message = re.sub(pattern, plain, message)
    return message
