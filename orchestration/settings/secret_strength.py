"""Find weak secrets: short, repetitive, a placeholder, a default or a published sample."""

import base64
import re

# In characters. The password of the first account may be shorter, because people type it.
SHORTEST_SECRET, SHORTEST_PASSWORD = 16, 8
PLACEHOLDER = re.compile(
    r"(?i)<.*>|x+|\.+|change.?me\W*|(your|my|change)[\W_][a-z\W_]*(password|secret|key)(.here)?\W*"
)
# Defaults of Airflow, MLflow, PostgreSQL and Redis, with digits and punctuation around them.
WORDS = re.compile(
    r"(?i)[\W\d_]*((admin|airflow|change|foobared|key|me|minio|mlflow|mlops|my|password|postgres|redis"
    r"|root|secret|super|test|user|webserver|welcome)[\W\d_]*)+"
)
# Fernet keys published in guides, charts and images.
PUBLISHED_KEYS = {
    "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=",  # pragma: allowlist secret
    "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",  # pragma: allowlist secret
    "7T512UXSSmBOkpWimFHIVb8jK6lfmSAvx4mO6Arehnc=",  # pragma: allowlist secret
    "FB0o_zt4e3Ziq3LdUUO7F2Z95cvFFx16hU8jTeR1ASM=",  # pragma: allowlist secret
    "a25mQ1FHTUh3MnFRSk5KMEIyVVU2YmN0VGRyYTVXY08=",  # pragma: allowlist secret
}


def weakness(name: str, value: str) -> str:
    """Return why a secret is weak, without quoting its value, or an empty string."""
    is_typed = name == "_AIRFLOW_WWW_USER_PASSWORD"
    min_length, min_different = (SHORTEST_PASSWORD, 5) if is_typed else (SHORTEST_SECRET, 8)
    bare_value, bare_name = (re.sub(r"[\W_]", "", text.casefold()) for text in (value, name))
    checks = {
        f"shorter than {min_length} characters": len(value) < min_length,
        "a placeholder": PLACEHOLDER.fullmatch(value),
        "a published sample": value in PUBLISHED_KEYS,
        "its own name": bare_value in (bare_name, bare_name.removeprefix("airflow")),
        "made of too few different characters": len(set(value)) < min_different,
        "a repeated pattern": value in (value + value)[1:-1],
        "made of common words": WORDS.fullmatch(value),
    }
    return next((why for why, is_weak in checks.items() if is_weak), "")


def key_weakness(value: str) -> str:
    """Return why a valid Fernet key is weak, or an empty string."""
    key = base64.urlsafe_b64decode(value)
    if value in PUBLISHED_KEYS:
        return "a published sample"
    if len(set(key)) < 8:
        return "made of too few different characters"
    # The chance that 32 random bytes are all printable is 1 in 10^13.
    return "text instead of random bytes" if all(32 <= byte < 127 for byte in key) else ""
