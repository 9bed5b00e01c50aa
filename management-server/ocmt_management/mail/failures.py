"""Explains why a mail failed: whether to retry, and what the operator can do.

Reads the reply codes of RFC 5321, the enhanced codes of RFC 3463 and the wording of common
servers.
"""

import re
import ssl
from dataclasses import dataclass

import aiosmtplib

_REPLY_CHARACTERS = 300
# Replies may quote the mail, but neither an address nor a link may enter a log.
_PRIVATE = re.compile(r"\S+@\S+|\S*/sign-in#\S*|[A-Za-z0-9_-]{40,}")
_OF_A_RECIPIENT = re.compile(r"\b[45]\.[12]\.\d")
_OF_THE_GREETING = re.compile(r"helo|ehlo|fully.qualified", re.I)
_OF_RELAYING = re.compile(r"relay|5\.7\.1\b.*(?:log.?in|auth)|authenticat", re.I)

_OF_THE_LOG_IN = frozenset({530, 534, 535, 538})
_CONNECTION = "check that SMTP_HOST and SMTP_PORT are right and that this machine reaches them"
_CURES = {
    421: "the mail server is busy or shutting down; OCMT retries",
    450: "the mail server asks to try later; OCMT retries",
    451: "the mail server asks to try later, as with greylisting; OCMT retries",
    452: "the mail server or the mailbox is full or takes no more for now; OCMT retries",
    454: "the mail server cannot check the log-in or begin TLS for now; OCMT retries",
    530: "the mail server wants a log-in or TLS: set SMTP_USER and SMTP_PASS, and SMTP_TLS",
    534: "the mail server wants another log-in: see its reply, then SMTP_USER and SMTP_PASS",
    535: "the mail server rejects the log-in: check SMTP_USER and SMTP_PASS",
    538: "the mail server takes a log-in only under TLS: set SMTP_TLS",
    550: "the mail server rejects this recipient; its reply says why",
    551: "the mail server rejects this recipient; its reply says why",
    552: "the recipient's mailbox is full",
    553: "the mail server rejects this recipient; its reply says why",
    554: "the mail server rejects the mail, often as spam: ask its operator",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MailFailure:
    reply: str
    """The server's reply, code first, or the exception. Addresses and links are masked."""
    code: int | None
    temporary: bool
    cure: str
    of_recipient: bool
    """Whether the failure concerns this recipient only; otherwise all mail fails."""


def explain(error: Exception) -> MailFailure:
    """Classify the exception that ended an attempt to send a mail."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return _of_reply(error.recipients[0])
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _of_reply(error)
    certificate = isinstance(error, ssl.SSLCertVerificationError) or isinstance(
        error.__cause__, ssl.SSLCertVerificationError
    )
    if certificate:
        cure = "the mail server's certificate is not valid for SMTP_HOST; use the name it is for"
    elif isinstance(error, aiosmtplib.SMTPNotSupported):
        cure = "the mail server does not support what SMTP_TLS or the log-in needs; check SMTP_TLS"
    elif isinstance(error, ssl.SSLError):
        cure = "TLS with the mail server failed: check SMTP_TLS and SMTP_PORT"
    else:
        cure = _CONNECTION
    ours = isinstance(
        error,
        aiosmtplib.SMTPConnectError | aiosmtplib.SMTPNotSupported | aiosmtplib.SMTPTimeoutError,
    )
    said = error.message if ours else ""  # type: ignore[attr-defined]
    return MailFailure(
        reply=_safe(f"{type(error).__name__} {said}".strip()),
        code=None,
        temporary=not (certificate or isinstance(error, aiosmtplib.SMTPNotSupported)),
        cure=cure,
        of_recipient=False,
    )


def _of_reply(error: aiosmtplib.SMTPResponseException) -> MailFailure:
    text = " ".join(str(error.message).split())
    at_recipient = isinstance(error, aiosmtplib.SMTPRecipientRefused)
    greeting = isinstance(error, aiosmtplib.SMTPHeloError) or _OF_THE_GREETING.search(text)
    relaying = at_recipient and error.code >= 500 and _OF_RELAYING.search(text)
    if greeting or error.code == 504:
        cure = "the mail server rejects this server's name: set SMTP_EHLO_NAME to its full name"
    elif relaying:
        cure = "the mail server relays only after a log-in: set SMTP_USER and SMTP_PASS"
    elif (
        isinstance(error, aiosmtplib.SMTPSenderRefused)
        and error.code >= 500
        and error.code not in _OF_THE_LOG_IN
    ):
        cure = "the mail server does not send for SMTP_FROM: check it, and SMTP_USER"
    else:
        cure = _CURES.get(error.code, "")
    if not cure:
        later = "the mail server refuses for now; OCMT retries"
        cure = later if error.code < 500 else "the mail server refuses for good; its reply says why"
    of_recipient = at_recipient and not (greeting or relaying or error.code in (421, 451, 504))
    return MailFailure(
        reply=_safe(f"{error.code} {text}"),
        code=error.code,
        temporary=400 <= error.code < 500,
        cure=cure,
        of_recipient=bool(of_recipient or (at_recipient and _OF_A_RECIPIENT.search(text))),
    )


def _safe(text: str) -> str:
    hidden = _PRIVATE.sub("…", text)
    return "".join(c if c.isprintable() else " " for c in hidden)[:_REPLY_CHARACTERS]
