import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from egress.client import Request
from egress.kinds import option

from .base import (
    Content,
    Envelope,
    Notice,
    ServiceChannel,
    cut,
    timeout_option,
    under,
    unfit,
    unfit_token,
    utf16_units,
)

API = "https://api.twilio.com"
MOST_TEXT = 1600
_ACCOUNT = re.compile("AC[0-9a-fA-F]{32}")
_SERVICE = re.compile("MG[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164
_NAME = re.compile("[A-Za-z0-9 ]{1,11}")


@dataclass(frozen=True, kw_only=True)
class TwilioChannel(ServiceChannel):
    """Sends a text message (SMS) to one number; for several, make several triggers.

    https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
    """

    label: ClassVar = "Twilio (SMS)"

    account_sid: str = option(label="Account SID", help="AC…")
    auth_token: str = option(label="Auth token", secret=True)
    sender: str = option(
        label="From",
        help="One of your numbers, +15551234567, a name, or a messaging service, MG…",
    )
    to: str = option(label="To", help="One number, +15551234567")
    api_url: str = option(label="Address of the API", default=API)
    timeout: float = timeout_option()

    def faults(self) -> Mapping[str, str]:
        senders = (_NUMBER, _NAME, _SERVICE)
        known = any(form.fullmatch(self.sender) for form in senders)
        number = "Give one number with + and the code of the country."
        return {
            "account_sid": ""
            if _ACCOUNT.fullmatch(self.account_sid)
            else "Give AC and 32 digits from 0 to f.",
            "auth_token": unfit_token(self.auth_token),
            "sender": "" if known else "Give a number with +, a name, or MG….",
            "to": "" if _NUMBER.fullmatch(self.to) else number,
            "api_url": unfit(self.api_url),
        }

    def destination(self) -> str:
        return self.to

    def request(self, content: Content, envelope: Envelope) -> Request:
        is_service = _SERVICE.fullmatch(self.sender)
        body = {
            "To": self.to,
            "MessagingServiceSid" if is_service else "From": self.sender,
            "Body": text(Notice.of(content)),
        }
        path = f"2010-04-01/Accounts/{self.account_sid}/Messages.json"
        login = f"{self.account_sid}:{self.auth_token}".encode()
        basic = f"Basic {base64.b64encode(login).decode()}"
        url = under(self.api_url, path)
        return self.post_form(url, body, envelope, Authorization=basic)


def text(notice: Notice) -> str:
    """Return the title, the text and the link, without facts: each part costs.

    The title is without an icon: one character that is not of GSM 03.38 makes the
    whole message take more than twice the parts.
    """
    ends = [notice.title, notice.link]
    taken = sum(utf16_units(part) + 1 for part in ends)
    said = cut(notice.text, max(1, MOST_TEXT - taken), size=utf16_units)
    return "\n".join(filter(None, [ends[0], said, ends[1]]))
