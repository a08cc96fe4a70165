from outbox.channels import Content
from outbox.models import Message


def confirmation(message: Message) -> Content:
    raise NotImplementedError


def incident(message: Message) -> Content:
    raise NotImplementedError
