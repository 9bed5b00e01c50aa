"""A message is encrypted as RFC 8291 says, and signed as RFC 8292 says."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from ocmt_management.notifications.push_message import (
    Message,
    Recipient,
    ServerKey,
    encrypted,
    for_recipient,
    from_base64url,
    headers,
    is_on_curve,
)
from ocmt_testing.management.push_service import Device, signed_claims

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
MESSAGE = Message({"kind": "decision", "number": 7}, "decision 7", True, timedelta(hours=1))


def recipient(device: Device) -> Recipient:
    sent = device.subscription()
    return Recipient(
        sent["endpoint"], from_base64url(sent["publicKey"]), from_base64url(sent["auth"])
    )


def test_the_example_of_the_standard() -> None:
    """RFC 8291, appendix A."""
    one_time_key = ec.derive_private_key(
        int.from_bytes(from_base64url("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")),
        ec.SECP256R1(),
    )
    them = Recipient(
        "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
        from_base64url(
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
        ),
        from_base64url("BTBZMqHH6r4Tts7J_aSIgg"),
    )
    body = encrypted(
        b"When I grow up, I want to be a watermelon",
        them,
        salt=from_base64url("DGv6ra1nlYgDCS1FRnbzlw"),
        one_time_key=one_time_key,
    )
    assert body == from_base64url(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tl"
        "zAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_only_the_device_reads_it() -> None:
    mine, other = Device("https://push.example.com"), Device("https://push.example.com")
    body = for_recipient(MESSAGE, recipient(mine))
    assert mine.read(body) == MESSAGE.content
    with pytest.raises(InvalidTag):
        other.read(body)


def test_the_signature_is_for_the_push_services_origin_and_ends_soon() -> None:
    key = ServerKey.new()
    header = ServerKey.load(key.pem()).authorization(
        "https://push.example.com:8443/x/y?z", subject="https://ocmt.example.com", now=NOW
    )
    claims, public = signed_claims(header)
    assert public == key.public
    assert claims["aud"] == "https://push.example.com:8443"
    assert claims["sub"] == "https://ocmt.example.com"
    assert NOW < datetime.fromtimestamp(claims["exp"], UTC) <= NOW + timedelta(hours=24)


def test_the_topic_tells_nothing() -> None:
    sent = dict(headers(MESSAGE, "vapid …"))
    assert "decision" not in sent["Topic"]
    assert len(sent["Topic"]) == 32
    assert (sent["TTL"], sent["Urgency"]) == ("3600", "high")


@pytest.mark.parametrize(
    "key", [b"", b"\x04" + b"\0" * 64, b"\x04" + b"\xff" * 64, b"\x02" + b"1" * 32]
)
def test_a_key_that_is_not_on_the_curve(key: bytes) -> None:
    assert not is_on_curve(key)
