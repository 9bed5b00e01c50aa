"""Recognises error texts after which OpenClaw disables a provider for minutes, across restarts.

To OpenClaw, all of OCMT's models are one provider, and it judges an error by status and wording. So
a text that looks like a problem with a key or an account is never passed on. The patterns match at
least what those of OpenClaw 2026.9.6 match (`src/agents/failover`); a test runs OpenClaw's own
classifier over the texts that are passed on.
"""

import re

_ACCOUNT = (
    r"\b402\b|http\s*402|payment required|insufficient[_ ](?:credits?|quota|balance|permissions?)"
    r"|insufficient\s+\w+\s+balance|insufficient usd or diem|all\s+available\s+credits"
    r"|spend(?:ing)?\s+limit|usagelimiterror|available balance|out of budget|credit balance"
    r"|plans & billing|requires?\s+more\s+credits|extra usage|余额不足|欠费|invalid_?subscription"
    r"|coding\s*plan subscription|\b1311\b|\b1113\b"
    r"|subscription\s+plan\b.*\binclude\s+access|\bmodel\b.*\bnot\s+available\b.*\bplan\b"
    r"|(?:^|[\n\"]|error)[:\s-]*(?:billing|credit balance|insufficient credit)"
)
_KEY = (
    r"\b40[13]\b|api[_ -]?key|invalid[_ ]?api|deactivated|key has been (?:disabled|revoked)"
    r"|not allowed for this organization|could not (?:authenticate|validate)|permission_error"
    r"|invalid token|authenticat|oauth|unauthori[sz]ed|forbidden|access denied|missing scopes?:"
    r"|expired|no credentials|\bfailed to (?:extract|parse|validate|decode)\b.*\btoken\b"
    r"|selected_auth_profile_unavailable|sign(?:ing)? in again|log(?:ging)? in again"
    r"|无权访问|认证失败|鉴权失败|密钥无效|apikey 无效|违规请求|禁止访问|\bce-011\b"
)
_DISABLING = re.compile(f"{_ACCOUNT}|{_KEY}", re.IGNORECASE | re.ASCII | re.DOTALL)


def disables_provider(text: str) -> bool:
    """Whether OpenClaw may disable the provider after an error with this text."""
    return _DISABLING.search(text) is not None or _DISABLING.search(text.lower()) is not None
