"""Whether a secret can be guessed: by what everybody tries first, never by asking anybody."""

import base64
import re
from itertools import pairwise

# Characters; fewer can be tried out. The first account's password is one that people type.
SHORTEST_SECRET, SHORTEST_PASSWORD = 16, 8
# Different characters that must be left, well-known words taken out.
LEAST_SECRET, LEAST_PASSWORD = 8, 5
PLACEHOLDER = re.compile(
    r"<.*>|x+|\.+|postgres|example|passw[o0]rd|change.?me\W*"
    r"|(your|my)[-_. ][a-z_. -]*(password|secret|key)\W*",
    re.IGNORECASE,
)
# What defaults and samples of Airflow, MLflow, PostgreSQL, Redis and their guides are made of
# (password1234, foobared, temporary_key, mysecretpassword, airflow-webserver-secret-key-2024 …),
# and rows of keys.
WORDS = re.compile(
    r"pass(wor?d|w0rd|phrase)|chang(e(it)?|ing)|replace|insert|update|secret|secure|token|(api)?key"
    r"|jwt|fernet|(web)?server|web|session|cookie|sign(ing)?|flask|redis|celery|broker|postgres(ql)?"
    r"|database|sql|airflow|apache|mlflow|mlops|tracking|admin(istrator)?|root|user(name)?|account"
    r"|login|guest|worker|status|default|sample|example|test(ing)?|demo|dev(elop(er|ment)?)?"
    r"|prod(uction)?|staging|local(host)?|temporary|temp|tmp|dummy|fake|foobar(ed)?|foo|bar|super"
    r"|strong|random|string|value|some(thing)?|thing|your?|th(e|is|at)|here|please|welcome|letmein"
    r"|let|me|my|in|hello|world|qwert[yz]?(uiop)?|asdf(ghjkl)?|zxcvbnm?|iloveyou|monkey|dragon|minio"
    r"|stack|docker|compose|none|null|undefined|todo|master|system|data|science|for|and|not|non"
    r"|0?123(4(5(6(7(8(90?)?)?)?)?)?)?|(((((9?8)?7)?6)?5)?4)?321|abc(d(ef(gh)?)?)?",
    re.IGNORECASE,
)
# As some write them.
LETTERS = str.maketrans("@$013!", "asolei")
# Keys that guides, charts and images hand out to everybody.
KNOWN = frozenset(
    (
        "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho=",  # pragma: allowlist secret
        "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=",  # pragma: allowlist secret
        "7T512UXSSmBOkpWimFHIVb8jK6lfmSAvx4mO6Arehnc=",  # pragma: allowlist secret
        "FB0o_zt4e3Ziq3LdUUO7F2Z95cvFFx16hU8jTeR1ASM=",  # pragma: allowlist secret
        "a25mQ1FHTUh3MnFRSk5KMEIyVVU2YmN0VGRyYTVXY08=",  # pragma: allowlist secret
    )
)


def guessable(name: str, value: str) -> str:
    """Why the secret `name` can be guessed, in words that tell nothing of it; blank: it cannot."""
    typed = name == "_AIRFLOW_WWW_USER_PASSWORD"
    shortest = SHORTEST_PASSWORD if typed else SHORTEST_SECRET
    if len(value) < shortest:
        return f"shorter than {shortest} characters"
    signs = {
        "a placeholder": PLACEHOLDER.fullmatch(value),
        "a sample that everybody knows": value in KNOWN,
        "its own name": _bare(value) in (_bare(name), _bare(name).removeprefix("airflow")),
        **_poor(value, LEAST_PASSWORD if typed else LEAST_SECRET),
    }
    return next((why for why, found in signs.items() if found), "")


def _poor(value: str, least: int) -> dict[str, bool]:
    without_words = (WORDS.sub("", text) for text in (value, value.translate(LETTERS)))
    return {
        "made of too few different characters": len(set(value)) < least,
        "one piece, repeated": value in (value + value)[1:-1],
        "a sequence of neighbours": _runs(value),
        "made of words that everybody tries": any(len(set(t)) < least for t in without_words),
    }


def guessable_key(value: str) -> str:
    """The same of a Fernet key that is one."""
    key = base64.urlsafe_b64decode(value)
    if value in KNOWN:
        return "a sample that everybody knows"
    if len(set(key)) < LEAST_SECRET:
        return "made of too few different characters"
    # 32 random bytes are not all printable, once in 10^13 times.
    return "text, and not random" if all(32 <= byte < 127 for byte in key) else ""


def _bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text.casefold())


def _runs(value: str) -> bool:
    """Most characters stand beside their neighbour in the alphabet, or beside themselves."""
    steps = [abs(ord(b) - ord(a)) <= 1 for a, b in pairwise(value)]
    return sum(steps) * 2 > len(steps)
