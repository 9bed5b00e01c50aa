"""The mails of sign-in."""

from email.message import EmailMessage

from ocmt_management.mail.service import link_mail


def sign_in_mail(*, to: str, link: str, life_minutes: int) -> EmailMessage:
    return link_mail(
        to=to,
        subject="Your sign-in link for OCMT",
        before=f"Open this link within {life_minutes} minutes to sign in. It works once.",
        link=link,
        after="If you did not ask for it, ignore this mail; your account is unchanged. If a page "
        "shows you a code, type it only into the page where you asked to sign in.",
    )


def invitation_mail(*, to: str, invited_by: str, link: str, life_days: int) -> EmailMessage:
    return link_mail(
        to=to,
        subject="You are invited to OCMT",
        before=f"{invited_by} invites you to OCMT, where you get an agent of your own. Open "
        f"this link within {life_days} days. It signs {to} in, once:",
        link=link,
        after="Do not forward this mail: the link signs in whoever opens it first. Later, sign in "
        "with your address on the page. If you do not know the sender, ignore this mail.",
    )
