"""A mail server that keeps its mails."""

from email import message_from_bytes
from email.message import Message

from aiosmtpd.controller import Controller

from tests.support.http_stub import unused_port


class Mailbox(Controller):
    """A mail server on a free port, which runs in a `with` block."""

    def __init__(self, **options):
        self.mails: list[Message] = []
        super().__init__(self, hostname="127.0.0.1", port=unused_port(), **options)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


def html(mail: Message) -> str:
    """Return the text of a mail."""
    [part] = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    return part.get_payload(decode=True).decode()
