from .base import Channel, Content, DeliveryFailed, Envelope
from .email import EmailChannel
from .webhook import WebhookChannel

__all__ = ["CHANNELS", "Channel", "Content", "DeliveryFailed", "Envelope"]

CHANNELS: dict[str, type[Channel]] = {
    "email": EmailChannel,
    "webhook": WebhookChannel,
}
