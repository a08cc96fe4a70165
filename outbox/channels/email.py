import smtplib
from dataclasses import dataclass
from email.utils import getaddresses, parseaddr
from typing import ClassVar, Final

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
from outbox import templating

from .base import Answer, Channel, Content, DeliveryFailed, Envelope


@dataclass(frozen=True, kw_only=True)
class EmailChannel(Channel):
    """A mail to operators, or to the one address a message names."""

    label: ClassVar = "E-mail"

    to: tuple[str, ...] = option(
        label="To", default=(), help="Addresses of the operators to be told"
    )
    from_address: str = option(
        label="From", default="", help="Name <address>; empty for Tocsin's own"
    )
    subject: str = option(
        label="Subject",
        default="",
        template="line",
        help="Yours, with {{variables}} in it; empty for ours.",
    )
    body_text: str = option(
        label="Text",
        default="",
        template="text",
        help="Yours, with {{variables}} in it; empty for ours.",
    )
    body_html: str = option(
        label="HTML",
        default="",
        template="html",
        help="Yours, with {{variables}} in it; empty for ours, or for none beside a "
        "text of yours.",
    )

    def __post_init__(self) -> None:
        wrong = {
            "to": next((r for a in self.to if (r := _unfit(a))), ""),
            "from_address": _unfit_sender(self.from_address),
            "subject": templating.fault(self.subject, "line"),
            "body_text": templating.fault(self.body_text, "text"),
            "body_html": templating.fault(self.body_html, "html"),
        }
        if errors := {name: reason for name, reason in wrong.items() if reason}:
            raise ConfigInvalid(errors)

    def destination(self) -> str:
        return ", ".join(self.to)

    def mail(self, content: Content, envelope: Envelope) -> EmailMultiAlternatives:
        """Return the mail as it is to be sent."""
        mail = EmailMultiAlternatives(
            # A line break would begin a header of the stranger's choice.
            subject=" ".join(self._made("subject", content).split())[:250],
            body=self._made("text", content),
            from_email=self.from_address or None,
            to=[envelope.destination] if envelope.destination else list(self.to),
            headers={**content.headers, "Message-ID": _message_id(envelope.key)},
        )
        # Mail programs show the HTML: ours beside their text would hide it.
        ours_would_hide = self.body_text and not self.body_html
        if html := "" if ours_would_hide else self._made("html", content):
            mail.attach_alternative(html, "text/html")
        return mail

    def _made(self, part: str, content: Content) -> str:
        """A part of the mail: made of the operator's template, or else ours."""
        name, form = _TEMPLATES[part]
        if not (source := getattr(self, name)):
            return str(getattr(content, part))
        values = {**content.values, **content.variables}
        try:
            return templating.render(source, values, form)
        except templating.TemplateInvalid as invalid:
            # Not final: somebody can mend the template in the meantime.
            raise DeliveryFailed(f"The template {name}: {invalid}") from invalid

    def deliver(self, content: Content, envelope: Envelope) -> Answer:
        mail = self.mail(content, envelope)
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
        return Answer(text=f"Handed over for {', '.join(mail.to)}")


# Which option holds the template of a part, and what it makes.
_TEMPLATES: Final = {
    "subject": ("subject", "line"),
    "text": ("body_text", "text"),
    "html": ("body_html", "html"),
}


def _unfit(address: str) -> str:
    """Say what is wrong with an address, or nothing."""
    try:
        validate_email(address)
    except ValidationError:
        return f"{address!r} is no address."
    return ""


def _unfit_sender(sender: str) -> str:
    """Say what is wrong with a sender, `Name <address>` or an address alone."""
    if not sender:
        return ""
    # A comma in a bare name would part it into two senders.
    if len(getaddresses([sender])) != 1:
        return f"{sender!r} is several senders; put the name in quotes."
    if not sender.isprintable() or _unfit(parseaddr(sender)[1]):
        return f"{sender!r} is no sender; write Name <address>."
    return ""


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
