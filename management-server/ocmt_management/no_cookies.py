"""A jar that takes no cookie, for HTTP clients that speak for everybody.

A provider's or a proxy's cookie would tie one user's next request to another's.
"""

from http.cookiejar import CookieJar, DefaultCookiePolicy


def no_cookies() -> CookieJar:
    """For `httpx2.AsyncClient(cookies=…)`, which keeps cookies without it."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))
