"""The one kind of error that is written for the person at the command line."""


class UserError(Exception):
    """Something the user can mend: the message says what was wrong, where, and what to do next.

    Entry points print it without a traceback and end with exit status 1.
    """


def banner(*lines: str) -> str:
    """Frame a warning so that nobody can miss it among other lines of a log."""
    bar = "!" * 88
    return "\n".join(["", bar, *(f"!  {line}" for line in lines), bar])
