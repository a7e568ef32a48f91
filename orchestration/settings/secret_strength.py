"""Which secrets are weak: short, repetitive, a placeholder, a default or a published sample."""

import base64
import re

# Characters; fewer can be tried out. The first account's password is one that people type.
SHORTEST_SECRET, SHORTEST_PASSWORD = 16, 8
PLACEHOLDER = re.compile(
    r"(?i)<.*>|x+|\.+|change.?me\W*|(your|my|change)[\W_][a-z\W_]*(password|secret|key)(.here)?\W*"
)
# Defaults of Airflow, MLflow, PostgreSQL and Redis, with digits and punctuation around them.
WORDS = re.compile(
    r"(?i)[\W\d_]*((admin|airflow|change|foobared|key|me|minio|mlflow|mlops|my|password|postgres|redis"
    r"|root|secret|super|test|user|webserver|welcome)[\W\d_]*)+"
)
# Fernet keys that guides, charts and images publish.
KNOWN = {
    "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=",  # pragma: allowlist secret
    "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",  # pragma: allowlist secret
    "7T512UXSSmBOkpWimFHIVb8jK6lfmSAvx4mO6Arehnc=",  # pragma: allowlist secret
    "FB0o_zt4e3Ziq3LdUUO7F2Z95cvFFx16hU8jTeR1ASM=",  # pragma: allowlist secret
    "a25mQ1FHTUh3MnFRSk5KMEIyVVU2YmN0VGRyYTVXY08=",  # pragma: allowlist secret
}


def guessable(name: str, value: str) -> str:
    """Return why the secret `name` is weak, without quoting it, or an empty string."""
    typed = name == "_AIRFLOW_WWW_USER_PASSWORD"
    shortest, least = (SHORTEST_PASSWORD, 5) if typed else (SHORTEST_SECRET, 8)
    bare, own = (re.sub(r"[\W_]", "", text.casefold()) for text in (value, name))
    signs = {
        f"shorter than {shortest} characters": len(value) < shortest,
        "a placeholder": PLACEHOLDER.fullmatch(value),
        "a sample that everybody knows": value in KNOWN,
        "its own name": bare in (own, own.removeprefix("airflow")),
        "made of too few different characters": len(set(value)) < least,
        "one piece, repeated": value in (value + value)[1:-1],
        "made of words that everybody tries": WORDS.fullmatch(value),
    }
    return next((why for why, found in signs.items() if found), "")


def guessable_key(value: str) -> str:
    """Return why a valid Fernet key is weak, or an empty string."""
    key = base64.urlsafe_b64decode(value)
    if value in KNOWN:
        return "a sample that everybody knows"
    if len(set(key)) < 8:
        return "made of too few different characters"
    # 32 random bytes are all printable once in 10^13 times.
    return "text, and not random" if all(32 <= byte < 127 for byte in key) else ""
