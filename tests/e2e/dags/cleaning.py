"""A module of a user's own, beside DAG files that import it."""


def strip(text):
    return text.strip()
