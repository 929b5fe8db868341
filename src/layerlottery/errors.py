"""The one exception that reaches a user: a single line that says what was found and what is allowed."""


class LayerLotteryError(Exception):
    """Bad input or a broken file; the message is one line that names the key or file."""
