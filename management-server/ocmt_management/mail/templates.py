"""A mail with one link, as plain text with a simple HTML alternative."""

from email.message import EmailMessage
from html import escape


def link_mail(*, to: str, subject: str, before: str, link: str, after: str) -> EmailMessage:
    message = EmailMessage()
    message["To"] = to
    message["Subject"] = subject
    message.set_content(f"{before}\n\n{link}\n\n{after}\n")
    message.add_alternative(
        f"<p>{_html(before)}</p>"
        f'<p><a href="{escape(link)}">{escape(link)}</a></p>'
        f"<p>{_html(after)}</p>",
        subtype="html",
    )
    return message


def _html(text: str) -> str:
    return escape(text).replace("\n", "<br>")
