"""Providers' errors, each with the cause that OCMT must find.

They are from the providers' documentation and public reports. `status` is `None` for an error
inside an answer with status 200.
"""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int | None
    body: str
    code: str


def _openai(status: int | None, message: str, cause: str, /, **error: Any) -> Refusal:
    return Refusal(status, json.dumps({"error": {"message": message, **error}}), cause)


def _anthropic(status: int | None, kind: str, message: str, code: str) -> Refusal:
    error = {"type": kind, "message": message}
    return Refusal(status, json.dumps({"type": "error", "error": error}), code)


KEY, UNPAID, LIMITS = "provider-refused-key", "provider-unpaid", "provider-limits"
MODERATED, REGION, BLOCKED = "provider-moderated", "provider-region", "provider-blocked"
TROUBLE, REFUSED = "provider-trouble", "provider-refused"

HTML = "<!DOCTYPE html>\n<html><head><title>Attention Required! | Cloudflare</title></head></html>"

REFUSALS = (
    # Keys
    _openai(401, "Incorrect API key provided: sk-ab***yz.", KEY, code="invalid_api_key"),
    _anthropic(401, "authentication_error", "invalid x-api-key", KEY),
    _openai(400, "API key not valid. Please pass a valid API key.", KEY, status="INVALID_ARGUMENT"),
    _openai(400, "API key expired. Please renew the API key.", KEY, code=400),
    Refusal(401, '{"detail":"Unauthorized"}', KEY),
    Refusal(401, "", KEY),
    Refusal(403, '{"error":"Forbidden"}', KEY),
    _openai(403, "Project proj_x does not have access to model gpt-x", KEY, code="model_not_found"),
    _anthropic(403, "permission_error", "Your API key may not use the specified resource.", KEY),
    _openai(None, "No auth credentials found", KEY, code=401),
    _anthropic(None, "authentication_error", "invalid x-api-key", KEY),
    _openai(422, "Could not validate credentials", KEY),
    # Credit and plan
    _anthropic(
        400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.", UNPAID,
    ),
    _openai(402, "Insufficient credits. Add more at https://x.example/credits", UNPAID, code=402),
    _openai(402, "Insufficient Balance", UNPAID, type="unknown_error"),
    Refusal(402, "", UNPAID),
    _openai(
        429, "You exceeded your current quota, please check your plan and billing details.", UNPAID,
        type="insufficient_quota", code="insufficient_quota",
    ),
    _openai(
        429, "Your account is not active, please check your billing details.", UNPAID,
        type="billing_not_active", code="billing_not_active",
    ),
    _openai(403, "Key limit exceeded: no credits left", UNPAID),
    _openai(None, "Insufficient credits. Add more.", UNPAID, code=402),
    _openai(None, "This request requires more credits, or fewer max_tokens.", UNPAID, code="402"),
    _anthropic(None, "billing_error", "Your credit balance is too low", UNPAID),
    _openai(400, "余额不足", UNPAID, code="1113"),
    _openai(451, "Your current subscription plan does not include access to this model", UNPAID),
    _openai(400, "Provider returned error", UNPAID, code=400,
            metadata={"raw": '{"error":{"code":402,"message":"out of budget"}}'}),
    _openai(
        400, "This organization has reached its monthly spending limit. Upgrade your plan.", UNPAID
    ),
    # Refused although the key is right
    _openai(403, "Input was flagged by moderation", MODERATED, code=403,
            metadata={"reasons": ["violence"], "flagged_input": "…"}),
    _openai(400, "The response was filtered by Azure's content management policy", MODERATED,
            code="content_filter"),
    _openai(403, "Country, region, or territory not supported", REGION,
            code="unsupported_country_region_territory"),
    _openai(400, "User location is not supported for the API use.", REGION,
            status="FAILED_PRECONDITION"),
    Refusal(403, HTML, BLOCKED),
    Refusal(401, "<html><body>Sign in to the network</body></html>", BLOCKED),
    # Passing
    _openai(429, "Rate limit reached for gpt-x in organization org-1 on requests per min (RPM)",
            LIMITS, code="rate_limit_exceeded"),
    _openai(429, "You exceeded your current quota, please check your plan and billing details. "
            "Quota exceeded for metric: generate_requests_per_minute. Please retry in 32s.", LIMITS,
            code=429, status="RESOURCE_EXHAUSTED"),
    _anthropic(429, "rate_limit_error", "This request would exceed your rate limit", LIMITS),
    _anthropic(529, "overloaded_error", "Overloaded", TROUBLE),
    _anthropic(None, "overloaded_error", "Overloaded", TROUBLE),
    _openai(500, "The server had an error", TROUBLE, type="server_error"),
    _openai(503, "authentication service unavailable", TROUBLE),
    Refusal(502, HTML, TROUBLE),
    Refusal(500, "", TROUBLE),
    _openai(None, "Provider disconnected", TROUBLE, code=502),
    _openai(None, "Upstream authentication failed", TROUBLE, code="server_error"),
    # The request's
    _openai(404, "The model `gpt-403` does not exist or you do not have access to it.",
            "model-unknown", code="model_not_found"),
    _openai(404, "No endpoints found. Token expired-model", "model-unknown"),
    _anthropic(404, "not_found_error", "model: claude-401", "model-unknown"),
    _openai(400, "max_tokens is too large: 401 is the most", REFUSED),
    _openai(400, "Invalid schema for function 'f'", REFUSED, type="invalid_request_error"),
    _openai(400, "This model's maximum context length is 8192 tokens. However, your messages "
            "resulted in 9403 tokens.", "conversation-too-long", code="context_length_exceeded"),
    _anthropic(400, "invalid_request_error", "prompt is too long: 210401 tokens > 200000 maximum",
               "conversation-too-long"),
    _anthropic(413, "request_too_large", "Request exceeds the maximum size",
               "conversation-too-long"),
    Refusal(422, '{"detail":[{"loc":["body"],"msg":"field required"}]}', REFUSED),
)  # fmt: skip

WORDS = (
    # One text for each of OpenClaw's patterns of billing and of authentication.
    "api_key_revoked", "API key deactivated", "deactivated_workspace", "key has been disabled",
    "key has been revoked", "account has been deactivated", "not allowed for this organization",
    "invalid_api_key", "api_key_is_invalid", "API key not valid", "could not authenticate api key",
    "could not validate credentials", "permission_error", "incorrect api key", "invalid token",
    "authentication", "re-authenticate", "OAuth token refresh failed", "unauthorized", "forbidden",
    "access denied", "insufficient permissions", "missing scope: x", "expired", "got 401 there",
    "a 403.", "no credentials found", "no api key found", "failed to parse the access token",
    "无权访问", "认证失败", "鉴权失败", "密钥无效", "apikey 无效", "当前 ak 违规请求", "ce-011",
    '{"code":402}', "http 402", "error code: 402", "returned a 402", "402 payment",
    "payment required", "insufficient credits", "used all available credits",
    "monthly spending limit", "spend limit",
    "insufficient_quota", "GoUsageLimitError", "available balance", "out of budget",
    "credit balance", "Plans & Billing", "insufficient_balance", "insufficient usd balance",
    "Insufficient USD or Diem balance", "requires more credits", "out of extra usage",
    "draw from your extra usage", "extra usage is required", "余额不足", "欠费",
    '"code":"InvalidSubscription"', "does not have a valid codingplan subscription",
    '"code": 1311', '"code": 1113', "current subscription plan does not include access",
    "model is not available on your current plan", "billing error: upgrade",
    "Error: insufficient credit, purchase more", "billing - update your payment",
    "sign in again", "OAuth token refresh failed for openai: sign in again",
    "CREDIT\u212a balance", "no\u00a0api key found", "Unauthorized\nExpired",
)  # fmt: skip
"""Texts that make OpenClaw disable a provider, at some status or within a stream."""
