"""The ways a command may end, other than success."""


class LayerLotteryError(Exception):
    """Bad input or a broken file; the message is one line that names the key or file."""

    def __str__(self) -> str:
        # names of files may hold any character, and terminals obey some of them
        return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in super().__str__())


class Interrupted(BaseException):
    """SIGTERM, SIGINT or SIGHUP came; the message says what the same command does when it is run again."""


class Suspended(Interrupted):
    """Interrupted where nothing is lost: run again, the work gets further, however short its time is."""


def what(error: LayerLotteryError) -> str:
    """The message without the advice after the semicolon, for files that a training can do without."""
    return str(error).partition(";")[0]
