from .apprise import AppriseChannel
from .base import Answer, Channel, Content, DeliveryFailed, Envelope
from .discord import DiscordChannel
from .email import EmailChannel
from .google_chat import GoogleChatChannel
from .gotify import GotifyChannel
from .matrix import MatrixChannel
from .mattermost import MattermostChannel
from .ntfy import NtfyChannel
from .opsgenie import OpsgenieChannel
from .pagerduty import PagerDutyChannel
from .pushover import PushoverChannel
from .slack import SlackChannel
from .teams import TeamsChannel
from .telegram import TelegramChannel
from .twilio import TwilioChannel
from .webhook import WebhookChannel

__all__ = ["CHANNELS", "Answer", "Channel", "Content", "DeliveryFailed", "Envelope"]

CHANNELS: dict[str, type[Channel]] = {
    "email": EmailChannel,
    "webhook": WebhookChannel,
    "slack": SlackChannel,
    "discord": DiscordChannel,
    "teams": TeamsChannel,
    "telegram": TelegramChannel,
    "google_chat": GoogleChatChannel,
    "mattermost": MattermostChannel,
    "matrix": MatrixChannel,
    "ntfy": NtfyChannel,
    "gotify": GotifyChannel,
    "pushover": PushoverChannel,
    "pagerduty": PagerDutyChannel,
    "opsgenie": OpsgenieChannel,
    "twilio": TwilioChannel,
    "apprise": AppriseChannel,
}
