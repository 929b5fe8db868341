"""The ways a command may end, other than success."""


class LayerLotteryError(Exception):
    """Bad input or a broken file; the message is one line that names the key or file."""

    def __str__(self) -> str:
        # names of files may hold any character, and terminals obey some of them
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in super().__str__())


class Interrupted(Exception):  # noqa: N818 - not an error: the work goes on later
    """SIGTERM or SIGINT came; the same command, run again, goes on where this one stopped."""


def what(error: LayerLotteryError) -> str:
    """The message without the advice after the semicolon, for files that a training can do without."""
    return str(error).partition(";")[0]
