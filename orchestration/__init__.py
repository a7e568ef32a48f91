"""The engine room: what brings the stack up, proves it, watches it and takes it down."""


class StackError(Exception):
    """What happened, why, and the next command to type, in one to a few lines."""
