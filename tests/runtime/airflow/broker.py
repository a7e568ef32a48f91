"""A stub of Redis with the lists and hashes that Celery's client writes."""

from collections import defaultdict

from tests.status.stubs import RedisStub, bulk


class Broker(RedisStub):
    """Stores messages in queues; a test moves them to the unacknowledged ones."""

    def __init__(self):
        self.queues = defaultdict(list)
        self.unacknowledged = {}
        self.times = {}
        super().__init__()

    def receive(self, queue, when):
        """Take the oldest message of a queue, as a worker does at that time."""
        text, tag = self.queues[queue].pop(), f"tag{len(self.times)}"
        self.unacknowledged[tag] = f'[{text}, "", "{queue}"]'
        self.times[tag] = when

    def reply(self, words):
        match [words[0].upper(), *words[1:]]:
            case [name, *_] if name == self.forbidden:
                pass
            case ["LPUSH", queue, text]:
                self.queues[queue].insert(0, text)
                return b":1\r\n"
            case ["LRANGE", queue, *_]:
                return array(self.queues[queue])
            case ["HGETALL", "unacked"]:
                return array(word for pair in self.unacknowledged.items() for word in pair)
            case ["ZRANGE", "unacked_index", *_]:
                return array(str(word) for pair in self.times.items() for word in pair)
        return super().reply(words)


def array(texts):
    """Return texts as an array of RESP."""
    texts = list(texts)
    return f"*{len(texts)}\r\n".encode() + b"".join(f"{bulk(text)}\r\n".encode() for text in texts)
