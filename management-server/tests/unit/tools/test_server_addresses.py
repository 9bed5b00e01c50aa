"""Addresses of tool servers that people enter."""

import pytest
from ocmt_common.problems import Problem
from ocmt_management.tools.servers import checked_url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://169.254.169.254/mcp", "address-refused"),
        ("https://10.0.0.1/mcp", "address-refused"),
        ("https://[::1]/mcp", "address-refused"),
        ("https://[::ffff:10.0.0.1]/mcp", "address-refused"),
        ("https://2130706433/mcp", "address-refused"),
        ("https://0x7f.1/mcp", "address-refused"),
        ("http://example.com/mcp", "url-insecure"),
        ("https://user:pass@example.com/mcp", "url-invalid"),
        ("https://example.com/mcp#x", "url-invalid"),
        ("ftp://example.com/mcp", "url-invalid"),
        ("https:///mcp", "url-invalid"),
        ("https://example.com:99999/", "url-invalid"),
        ("https://exa mple.com/", "url-invalid"),
        ("not a url", "url-invalid"),
    ],
)
def test_addresses_that_may_not_be_used_are_refused_with_the_cure(url: str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        checked_url(url, frozenset())
    assert refused.value.code == code
    assert len(refused.value.detail) > 30


def test_a_host_that_the_operator_named_may_be_private_and_over_http() -> None:
    assert checked_url("http://10.0.0.7:8080/mcp", frozenset({"10.0.0.7"}))
    assert checked_url("https://mcp.example.com/mcp?team=1", frozenset())
