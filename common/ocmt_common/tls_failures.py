"""Explains failed TLS connections to the other host, with the cure."""

import ssl
from collections.abc import Iterator

from ocmt_common.host_credentials import HostCredentials

# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_ENDED = 10
_NOT_YET = 9
_OTHER_NAME = frozenset({62, 64})


def tls_reason(error: BaseException, own: HostCredentials | None) -> str | None:
    """Why a TLS connection failed; `None` for other errors. `own` are the connection's credentials.

    A server rejects a client's certificate after the handshake, and asyncio closes the connection
    before it sends the alert, so this host's own certificate is checked, too.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            code = getattr(cause, "verify_code", None)
            if code is not None:
                return _refused(code, str(getattr(cause, "verify_message", "")), own)
        elif isinstance(cause, ssl.SSLError):
            if cause.reason == "WRONG_VERSION_NUMBER":
                return "that port does not use TLS; it must be the TLS_PORT of that server"
            return f"TLS failed: {cause.reason or cause}"
    if own is not None and own.why_invalid:
        return f"this server's own certificate {own.why_invalid}"
    return None


def _refused(code: int, message: str, own: HostCredentials | None) -> str:
    if code == _ENDED:
        return "its certificate has expired; run `./ocmt renew`"
    if code == _NOT_YET:
        return (
            "its certificate is not valid yet; compare the clocks of both hosts and of the machine "
            "with `ocmt.secrets/`, then run `./ocmt renew`"
        )
    if code in _OTHER_NAME:
        return "its certificate is for another address; run `./ocmt setup` for it"
    if own is not None:
        return (
            f"its certificate was not issued by this installation's CA ({message}); run "
            "`./ocmt setup`"
        )
    return f"its certificate is not trusted ({message})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
