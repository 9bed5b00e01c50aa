"""Which addresses may be dialled for a user."""

import asyncio
import ipaddress
import socket
import threading
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.outbound.addresses import is_allowed, is_public
from ocmt_management.outbound.service import (
    AddressRefused,
    CheckedResolver,
    SystemResolver,
    check_literal,
)
from yarl import URL


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "169.254.0.1", "100.100.100.200", "100.64.0.1",
        "168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "192.0.2.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1",
        "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "::127.0.0.1",
        "2001:0:0:0:0:0:80ff:fffe",
    ],
)  # fmt: skip
def test_private_special_and_metadata_addresses_are_refused(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_of_the_internet_are_allowed(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_as_itself(inner: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + inner.packed)
    translated = ipaddress.IPv6Address(bytes.fromhex("0064ff9b") + b"\0" * 8 + inner.packed)

    assert is_public(mapped) == is_public(inner)
    assert is_public(translated) == is_public(inner)


def test_one_private_address_of_a_host_is_enough_to_refuse_it() -> None:
    addresses = [ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address("10.0.0.1")]

    assert not is_allowed("mixed.example", addresses, frozenset())
    assert not is_allowed("nothing.example", [], frozenset())
    assert is_allowed("Mixed.Example.", addresses, frozenset({"mixed.example"}))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/",
        "http://0177.0.0.1/", "http://[::1]/", "http://[::ffff:7f00:1]/",
    ],
)  # fmt: skip
def test_addresses_written_as_numbers_are_refused_in_every_spelling(url: str) -> None:
    with pytest.raises(AddressRefused, match="PRIVATE_HOSTS"):
        check_literal(URL(url), frozenset())


class Resolving(AbstractResolver):
    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=self.address, port=port, family=socket.AF_INET, proto=6, flags=0
            )
        ]

    async def close(self) -> None:
        return None


def test_the_address_that_was_checked_is_the_one_that_is_dialled() -> None:
    public = CheckedResolver(frozenset(), Resolving("1.1.1.1"))
    private = CheckedResolver(frozenset(), Resolving("10.0.0.7"))
    allowed = CheckedResolver(frozenset({"notes.lan"}), Resolving("10.0.0.7"))

    assert asyncio.run(public.resolve("mcp.example.com", 443))[0]["host"] == "1.1.1.1"
    assert asyncio.run(allowed.resolve("notes.lan", 443))[0]["host"] == "10.0.0.7"
    with pytest.raises(AddressRefused):
        asyncio.run(private.resolve("mcp.example.com", 443))


def test_slow_names_hold_no_thread_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(host: str, port: int, **_: Any) -> Any:
        if host == "slow.example":
            go_on.wait(20)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", port))]

    async def resolve() -> list[ResolveResult]:
        resolver = SystemResolver()
        waiting = [asyncio.create_task(resolver.resolve("slow.example")) for _ in range(12)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.to_thread(lambda: None)  # what other parts of the server do
            found = await resolver.resolve("fast.example", 443)
        go_on.set()
        await asyncio.gather(*waiting)
        await resolver.close()
        return found

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert asyncio.run(resolve())[0]["host"] == "1.1.1.1"
