"""A cookie jar that stores nothing, for HTTP clients that all users share.

A cookie of a provider or proxy would link one user's request to another's.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy


def no_cookies() -> CookieJar:
    """A jar for `httpx2.AsyncClient(cookies=…)`, which stores cookies by default."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
