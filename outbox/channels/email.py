import smtplib
from dataclasses import dataclass
from email.utils import parseaddr

from anymail.exceptions import (
    AnymailError,
    AnymailInvalidAddress,
    AnymailRequestsAPIError,
)
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email

from egress.kinds import ConfigInvalid, option

from .base import Channel, Content, DeliveryFailed, Envelope


@dataclass(frozen=True, kw_only=True)
class EmailChannel(Channel):
    """A mail to operators, or to the one address a message names."""

    to: tuple[str, ...] = option(
        label="To", default=(), help="Addresses of the operators to be told"
    )

    def __post_init__(self) -> None:
        for address in self.to:
            try:
                validate_email(address)
            except ValidationError:
                raise ConfigInvalid({"to": f"{address!r} is no address."}) from None

    def destination(self) -> str:
        return ", ".join(self.to)

    def deliver(self, content: Content, envelope: Envelope) -> str:
        to = [envelope.destination] if envelope.destination else list(self.to)
        mail = EmailMultiAlternatives(
            # A line break would begin a header of the stranger's choice.
            subject=" ".join(content.subject.split())[:250],
            body=content.text,
            to=to,
            headers={**content.headers, "Message-ID": _message_id(envelope.key)},
        )
        if content.html:
            mail.attach_alternative(content.html, "text/html")
        try:
            mail.send()
        except smtplib.SMTPRecipientsRefused as error:
            raise _refused(error) from error
        except smtplib.SMTPResponseException as error:
            said = f"{error.smtp_code} {_words(error.smtp_error)}"
            # A login or sender that is refused is our fault, and will be mended.
            theirs = isinstance(error, smtplib.SMTPDataError)
            final = theirs and 500 <= error.smtp_code < 600
            raise DeliveryFailed(said, final=final) from error
        except AnymailInvalidAddress as error:
            raise DeliveryFailed(str(error)[:500], final=True) from error
        except AnymailRequestsAPIError as error:
            final = error.status_code in (400, 422)
            raise DeliveryFailed(str(error)[:500], final=final) from error
        except (smtplib.SMTPException, AnymailError, OSError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}"[:500]) from error
        return f"Handed over for {', '.join(to)}"


def _message_id(key: str) -> str:
    """The same Message-ID on every attempt, so that a repeated mail is recognised."""
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return f"<{key}@{sender.rpartition('@')[2] or 'localhost'}>"


def _words(answer: bytes | str) -> str:
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:500]


def _refused(error: smtplib.SMTPRecipientsRefused) -> DeliveryFailed:
    code, words = next(iter(error.recipients.values()))
    return DeliveryFailed(f"{code} {_words(words)}", final=500 <= code < 600)
