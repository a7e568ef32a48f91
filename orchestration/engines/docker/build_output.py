"""What `docker compose --progress plain build` prints, read as one row for each image.

BuildKit numbers its steps over all images, runs several at once, prints a step's heading again
when it returns to it, and shows a step that two images share under one of them.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import dropwhile

from orchestration.process.progress import Line
from orchestration.process.runner import TAIL_LINES

# #12 [airflow-init stage-1 4/6] RUN …   #12 12.34 some output   #12 DONE 3.2s
STEP = re.compile(r"#(\d+) (?:\[([^\]]+)\] )?(.*)")
END = re.compile(r"(DONE|CACHED|CANCELED|ERROR)\b:? ?(.*)")
SECONDS = re.compile(r"^\d+\.\d+(?: |$)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
KEYWORDS = ("then", "else", "do", "{", "(")
EXPORT = "exporting to image"
WIDTH = 60


@dataclass
class Image:
    """One image as far as it is."""

    kind: str = "wait"
    detail: str = ""
    # Headings of its steps at work by number, in the order they began.
    running: dict[str, str] = field(default_factory=dict)
    # A last step, such as 6/6, was seen.
    has_last: bool = False

    def begin(self, number: str, heading: str) -> None:
        """A step begins, or is returned to; even after `ready` there may be one more."""
        if self.kind == "bad":
            return
        self.kind = "wait"
        self.running[number] = heading
        self.detail = list(self.running.values())[-1]

    def end(self, number: str, how: str) -> None:
        """A step ends: DONE, CACHED, CANCELED or ERROR."""
        heading = self.running.pop(number)
        if self.kind == "bad":
            return
        if how == "ERROR":
            self.kind, self.detail = "bad", _short(f"failed at {heading}")
        elif how == "CANCELED":
            self.detail = _short(f"cancelled at {heading}")
        elif self.running:
            self.detail = list(self.running.values())[-1]

    def ready(self) -> None:
        """The image is there."""
        self.kind, self.detail = "ok", "ready"


class Stages:
    """Reads a build's output line by line; `names` gives a service's image its name in the rows.

    Where `names` has only one service, steps without a service's name are taken for its own.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)
        self.images: dict[str, Image] = {}
        self.said: dict[str, deque[str]] = {}
        self.failed: str | None = None
        self.outside: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, line: str) -> None:
        """Take in the next line, whatever it is."""
        line = COLOURS.sub("", line).rstrip()
        step = STEP.fullmatch(line)
        if not step:
            self.outside.extend([line] if line else [])
            return
        number, words, text = step.groups()
        if words or text.startswith(EXPORT):
            self._begin(number, (words or "").split(), text)
        elif ended := END.fullmatch(text):
            self._end(number, *ended.groups())
        elif text != "..." and (output := SECONDS.sub("", text)).strip():
            self._said_by(number).append(output)

    def lines(self) -> list[Line]:
        """A row for each image whose build began, in the order of `names`."""
        order = [*self.names.values(), *self.images]
        images = [(name, self.images[name]) for name in dict.fromkeys(order) if name in self.images]
        return [(name, image.kind, image.detail) for name, image in images]

    def failure(self) -> list[str]:
        """The last lines of the first step that failed, or its reason if it printed nothing.

        Where no step failed, what was said outside of any, as of a Dockerfile that is none. To be
        asked when the build is known to have failed.
        """
        return list(self.outside if self.failed is None else self._said_by(self.failed))

    def finish(self) -> None:
        """The build is known to have ended well: every image is there."""
        for image in self.images.values():
            image.ready()

    def _said_by(self, number: str) -> deque[str]:
        return self.said.setdefault(number, deque(maxlen=TAIL_LINES))

    def _begin(self, number: str, words: list[str], text: str) -> None:
        name = self._name(words, text)
        if name is None:
            return
        place = words[-1] if words and re.fullmatch(r"\d+/\d+", words[-1]) else ""
        image = self.images.setdefault(name, Image())
        image.begin(number, _short(f"step {place}  {_plain(text)}" if place else _plain(text)))
        image.has_last |= bool(place) and len(set(place.split("/"))) == 1

    def _name(self, words: list[str], text: str) -> str | None:
        first = words[0] if words else ""
        if first in self.names:
            return self.names[first]
        if len(self.names) == 1:
            return next(iter(self.names.values()))
        # A service that `names` forgot stands for itself; a single word is no service, but
        # [internal], [auth] or [2/5].
        return first if first and (len(words) > 1 or text == EXPORT) else None

    def _end(self, number: str, how: str, reason: str) -> None:
        if how == "ERROR" and self.failed is None:
            self.failed = number
            if not self._said_by(number):
                self._said_by(number).append(_reason(reason))
        of_all = list(self.images.values())
        exporting = [image for image in of_all if image.running.get(number) == EXPORT]
        for image in [image for image in of_all if number in image.running]:
            image.end(number, how)
        if exporting and how in ("DONE", "CACHED"):
            for image in [*exporting, *_exported_along(of_all)]:
                image.ready()


def _exported_along(images: list[Image]) -> Iterator[Image]:
    # Two images that are ready to be exported at once are exported in one step, which bears the
    # name of one of them.
    return (
        image for image in images if image.kind == "wait" and image.has_last and not image.running
    )


def _reason(text: str) -> str:
    # The reason repeats the whole command, then tells how it ended.
    return text[text.rindex("exit code:") :] if "exit code:" in text else text


def _plain(instruction: str) -> str:
    """A Dockerfile's instruction without its options; of a RUN only what it installs, if it does.

    What installs is what takes long; around it stand its conditions and its environment.
    """
    # The address of a package index may hold a password.
    verb, *words = [word for word in instruction.split() if "://" not in word] or [""]
    words = list(dropwhile(lambda word: word.startswith("--"), words))
    commands = re.split(r"\s*(?:&&|;)\s*", " ".join(words)) if verb == "RUN" else []
    installing = next((command.split() for command in commands if " install " in command), [])
    shown = [word for word in installing if word[0] not in "->" and word not in KEYWORDS]
    return " ".join([verb, *(shown or words)])


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1].rstrip()}…"
