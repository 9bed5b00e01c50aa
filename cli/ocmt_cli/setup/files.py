"""The texts of files on a host, from templates and the inventory. Reads only the templates."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import HostEntry, Inventory
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust import links

TEMPLATES = ROOT / "deploy"
_HOLE = re.compile(r"@([A-Z_]+)@")
# Added to the deploy's own timeouts before systemd kills a server.
_GRACE_S = 15
CHALLENGES = PurePosixPath("/var/www/acme")
"""The web root from which nginx serves certbot's challenges."""
_MGMT_DATA = PurePosixPath("/var/lib/ocmt-management")


def fill(template: Path, values: Mapping[str, str]) -> str:
    """Fill in a template. Raises `KeyError` for a missing value."""
    return _HOLE.sub(lambda hole: values[hole[1]], template.read_text(encoding="utf-8"))


def page_origin(inventory: Inventory) -> str:
    """The page's origin, such as https://app.example.com; without a domain, management's port."""
    domain = inventory.ui.domain or inventory.mgmt.domain
    return f"https://{domain}" if domain else f"http://127.0.0.1:{inventory.mgmt.port}"


def content_security_policy(inventory: Inventory) -> str:
    """The page's Content-Security-Policy, the same as management's; a test compares them."""
    socket = page_origin(inventory).replace("http", "ws", 1)
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"connect-src 'self' {socket}; img-src 'self' data: blob:; font-src 'self'; "
        "manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


def management_url(inventory: Inventory, host: HostEntry) -> str:
    """The management server's address for this host's front.

    Raises `CommandFailed` if management is on another host and has no domain.
    """
    if "mgmt" in host.roles:
        return f"http://127.0.0.1:{inventory.mgmt.port}"
    if inventory.mgmt.domain:
        return f"https://{inventory.mgmt.domain}"
    raise CommandFailed(
        f"{inventory.file}: host {host.name} must reach the management server, which is on another "
        "host. Set mgmt.domain.",
        exit_code=2,
    )


def units(inventory: Inventory, host: HostEntry) -> dict[str, str]:
    """Unit name → text, for the host's roles."""
    relay = bool(inventory.agent.relay_bind)
    values = {
        "USER": inventory.deploy.service_user,
        "START_S": f"{inventory.deploy.gate_timeout_s + _GRACE_S:.0f}",
        "STOP_S": f"{inventory.deploy.drain_s + _GRACE_S:.0f}",
        "DRAIN_S": f"{inventory.deploy.drain_s:g}",
        "DATA": str(host.path(inventory.agent.data)),
        "RELAY_BIND": inventory.agent.relay_bind,
        "RELAY_PORT": str(inventory.agent.relay_port),
    }
    names: list[str] = []
    made: dict[str, str] = {}
    for role, name in (("mgmt", "ocmt-management"), ("agent", "ocmt-agent")):
        if role not in host.roles:
            continue
        component = inventory.mgmt if role == "mgmt" else inventory.agent
        values |= {
            "PATH": str(host.path(component.path)),
            "BIND": f"[{component.bind}]" if ":" in component.bind else component.bind,
            "PORT": str(component.port),
        }
        sockets = [f"{name}.socket"]
        if role == "agent" and relay:
            sockets.append(f"{name}-relay.socket")
        if (for_other_host := links.listener(inventory, host, role)) is not None:
            sockets.append(f"{name}-tls.socket")
            values["TLS_LISTEN"] = for_other_host
        values["SOCKETS"] = " ".join(sockets)
        names = [*sockets, f"{name}.service", f"{name}@.service"]
        if role == "mgmt":
            names += [f"{name}-expand@.service", f"{name}-migrate@.service"]
        made |= {one: fill(TEMPLATES / "systemd" / one, values) for one in names}
    if inventory.pull.source:
        pull = {
            "CHECKOUT": str(host.path(inventory.pull.checkout)),
            "HOST": host.name,
            "EVERY_MIN": str(inventory.pull.every_min),
        }
        names = ["ocmt-pull.service", "ocmt-pull.timer"]
        made |= {one: fill(TEMPLATES / "systemd" / one, pull) for one in names}
    return made


def _upstream(inventory: Inventory, host: HostEntry) -> str:
    """Caddy's upstream: a local address, or the server's https name with its Host header."""
    url = management_url(inventory, host)
    if url.startswith("http://"):
        return url.removeprefix("http://")
    return f"{url} {{\n\t\t\theader_up Host {{upstream_hostport}}\n\t\t}}"


def _front_values(inventory: Inventory, host: HostEntry) -> dict[str, str]:
    return {
        "CSP": content_security_policy(inventory),
        "UI_ROOT": str(host.path(inventory.ui.path) / "current"),
    }


def caddyfile(inventory: Inventory, host: HostEntry) -> str:
    """The host's sites for Caddy; empty without domains. Raises `CommandFailed`."""
    values = _front_values(inventory, host)
    sites: list[str] = []
    if "ui" in host.roles and inventory.ui.domain:
        page = {"PAGE_SITE": inventory.ui.domain, "UPSTREAM": _upstream(inventory, host)}
        sites.append(fill(TEMPLATES / "Caddyfile", values | page))
    if "mgmt" in host.roles and inventory.mgmt.domain not in ("", inventory.ui.domain):
        upstream = _upstream(inventory, host)
        fronts = " ".join(_other_fronts(inventory))
        from_fronts = fill(TEMPLATES / "Caddyfile.fronts", {"FRONTS": fronts, "UPSTREAM": upstream})
        api = {
            "API_SITE": inventory.mgmt.domain,
            "FROM_FRONTS": from_fronts if fronts else "",
            "UPSTREAM": upstream,
        }
        sites.append(fill(TEMPLATES / "Caddyfile.api", api))
    return "\n".join(sites)


def _other_fronts(inventory: Inventory) -> list[str]:
    """Addresses of hosts that serve the page and forward other requests to management's front.

    That front accepts the client's address from them; otherwise all their users would share one
    address and its rate limit. Raises `CommandFailed` if a host's address is a name.
    """
    return [str(ip_address(one)) for one in inventory.with_role("ui") if "mgmt" not in one.roles]


def ip_address(host: HostEntry) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The host's address. Raises `CommandFailed` if it is a name."""
    try:
        return ipaddress.ip_address(host.address)
    except ValueError as error:
        raise CommandFailed(
            f"hosts.{host.name}.address must be an IP address, since other hosts' firewalls and "
            "web servers refer to it.",
            exit_code=2,
        ) from error


def nginx_names(inventory: Inventory, host: HostEntry) -> list[str]:
    """The domains of nginx's site on this host; empty if it has none."""
    served = [inventory.ui.domain] if "ui" in host.roles else []
    served += [inventory.mgmt.domain] if "mgmt" in host.roles else []
    return list(dict.fromkeys(name for name in served if name))


def certificate(inventory: Inventory, host: HostEntry) -> tuple[PurePosixPath, PurePosixPath]:
    """The paths of nginx's certificate and key: certbot's for the first of `nginx_names`."""
    folder = PurePosixPath("/etc/letsencrypt/live", nginx_names(inventory, host)[0])
    return folder / "fullchain.pem", folder / "privkey.pem"


def nginx_conf(inventory: Inventory, host: HostEntry, *, certified: bool) -> str:
    """The host's site for nginx; empty without domains.

    nginx does not start without its certificate, so until it is `certified` the site only answers
    certbot's challenges. Raises `CommandFailed`.
    """
    names = nginx_names(inventory, host)
    if not names:
        return ""
    values = {"SERVER_NAMES": " ".join(names), "CHALLENGES": str(CHALLENGES)}
    if not certified:
        return fill(TEMPLATES / "nginx.http.conf", values)
    chain, key = certificate(inventory, host)
    return fill(
        TEMPLATES / "nginx.conf",
        _front_values(inventory, host)
        | values
        | {
            "REAL_CLIENTS": "".join(
                f"    set_real_ip_from {address};\n"
                for address in (_other_fronts(inventory) if "mgmt" in host.roles else [])
            ),
            "UPSTREAM_URL": management_url(inventory, host),
            "CERTIFICATE": str(chain),
            "CERTIFICATE_KEY": str(key),
        },
    )


# Paused agents' memory is swapped to compressed RAM first, then to the disk.
ZRAM = """\
ALGO=zstd
PERCENT=50
PRIORITY=100
"""
SWAP_UNIT = """\
[Unit]
Description=Swap for sleeping OCMT agents

[Swap]
What=/swapfile
Priority=10

[Install]
WantedBy=swap.target
"""


def management_env(
    inventory: Inventory, host: HostEntry, *, token: str, jwt: str, vault: str
) -> str:
    """The `.env` of a new management server."""
    data = _MGMT_DATA if host.supervisor == "systemd" else host.path(_MGMT_DATA)
    ui = ""
    if "ui" in host.roles and not inventory.ui.domain:
        ui = f"UI_DIR={host.path(inventory.ui.path) / 'current'}\n"
    return (
        "# Written once by `ocmt setup`; yours to edit. docs/settings.md lists all settings.\n"
        f"DATA_DIR={data}\nJWT_SECRET={jwt}\nVAULT_KEY={vault}\n"
        f"AGENT_SERVER_URL={links.agent_server_url(inventory, host)}\n"
        f"{_lines(links.env_lines(inventory, host, 'mgmt') or [f'AGENT_AUTH_TOKEN={token}'])}"
        f"BASE_URL={page_origin(inventory)}\nHOST={inventory.mgmt.bind}\n"
        f"PORT={inventory.mgmt.port}\n{ui}"
        "# Who may sign in without an invitation, and the mail server for their links:\n"
        "# ALLOWED_EMAILS=you@example.com\n# SMTP_HOST=smtp.example.com\n"
        "# SMTP_USER=\n# SMTP_PASS=\n# SMTP_FROM=OCMT <agent@example.com>\n"
    )


def agent_env(inventory: Inventory, host: HostEntry, *, token: str) -> str:
    """A new agent server's `.env`; `token` is AGENT_AUTH_TOKEN of management on this machine."""
    runtime = "docker" if host.supervisor == "systemd" else "auto"
    return (
        "# Written once by `ocmt setup`; yours to edit. docs/settings.md lists all settings.\n"
        f"AUTH_TOKEN={token}\nDATA_DIR={host.path(inventory.agent.data)}\n"
        f"HOST={inventory.agent.bind}\nPORT={inventory.agent.port}\n"
        f"RELAY_PORT={inventory.agent.relay_port}\n"
        f"MANAGEMENT_URL={links.agents_management_url(inventory, host)}\nRUNTIME={runtime}\n"
        f"{_lines(links.env_lines(inventory, host, 'agent'))}"
    )


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
