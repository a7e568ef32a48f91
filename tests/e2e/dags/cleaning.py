"""A user's own module next to the DAG file that imports it."""


def strip(text):
    return text.strip()
