"""The plan keeps or names everything on a host that is not OCMT's."""

import dataclasses
import hashlib
import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import Inventory, load_inventory
from ocmt_cli.deploy.remote import LocalHost
from ocmt_cli.failure import CommandFailed
from ocmt_cli.setup import files, tls
from ocmt_cli.setup.changes import Change, Install, Run, Write
from ocmt_cli.setup.command import _apply
from ocmt_cli.setup.facts import Found, HostFacts, Listening
from ocmt_cli.setup.hostside.probe import _ssh_port
from ocmt_cli.setup.plan import FIREWALL, Secrets, plan
from ocmt_cli.trust.authority import Authority
from ocmt_cli.trust.folder import TrustFolder
from ocmt_testing.deploy.host_facts import FRESH_HOST

ROOT = Path(__file__).parents[4]
SECRETS = Secrets(token="t" * 40, jwt="j" * 40, vault="k1:v")
THEIRS = Found("of another text", 0o644, "root")
CADDYFILE, CADDY_SITE = "/etc/caddy/Caddyfile", "/etc/caddy/ocmt.caddy"
NGINX_SITE = "/etc/nginx/conf.d/ocmt.conf"
ZRAM = "/etc/default/zramswap"
FRESH = dataclasses.replace(FRESH_HOST, swap=True)


def _plan(
    inventory: Inventory, facts: HostFacts = FRESH, *, host: str = "front", key: str = ""
) -> list[Change]:
    return plan(
        facts, inventory=inventory, host=inventory.host(host), secrets=SECRETS, public_key=key
    )


def _install(changes: list[Change]) -> Install | None:
    found = [step for one in changes for step in one.steps if isinstance(step, Install)]
    return found[0] if found else None


def _line(changes: list[Change], start: str) -> str:
    return next((str(one) for one in changes if one.what.startswith(start)), "")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("front", "/etc/systemd/system/ocmt-management.socket"),
        ("front", "/etc/ocmt/firewall.nft"),
        ("front", CADDY_SITE),
        ("agents-1", "/etc/systemd/system/ocmt-agent@.service"),
        ("agents-1", "/etc/systemd/system/ocmt-firewall.service"),
    ],
)
def test_a_file_with_another_text_is_named_as_replaced(
    inventory: Inventory, host: str, path: str
) -> None:
    lines = [str(one) for one in _plan(inventory, host=host)]
    assert not [line for line in lines if "replaces" in line]
    there = dataclasses.replace(FRESH, paths={path: THEIRS})
    lines = [str(one) for one in _plan(inventory, there, host=host)]
    assert [line for line in lines if line.endswith(f"; replaces {path}")]


# Caddy


@pytest.mark.parametrize(
    "theirs",
    [
        "",
        "blog.example.com {\n\trespond hello\n}\n",
        "# import /etc/caddy/ocmt.caddy\n",
        "import sites/*\nimport /etc/caddy/*.conf\n(snippet) {\n}\n",
        "a.example.com {\n\timport common\n}",
    ],
)
def test_the_caddyfile_is_the_operators_and_gets_one_line(
    inventory: Inventory, theirs: str
) -> None:
    facts = dataclasses.replace(FRESH, paths={CADDYFILE: THEIRS}, texts={CADDYFILE: theirs})
    changes = _plan(inventory, facts)
    step = _install(changes)
    assert step is not None
    assert [str(write.path) for write in step.writes] == [CADDY_SITE]
    assert (str(step.append_to), step.line) == (CADDYFILE, f"import {CADDY_SITE}")
    assert "by a line at the end of /etc/caddy/Caddyfile" in _line(changes, "caddy: ")
    assert "replaces" not in _line(changes, "caddy: ")


@pytest.mark.parametrize(
    "imports",
    [f"import {CADDY_SITE}", "import ocmt.caddy", "import *.caddy", "import /etc/caddy/*"],
)
def test_a_caddyfile_that_has_the_site_already_is_left_alone(
    inventory: Inventory, imports: str
) -> None:
    facts = dataclasses.replace(FRESH, texts={CADDYFILE: f"# Ours\n{imports}\n"})
    step = _install(_plan(inventory, facts))
    assert step is not None
    assert step.append_to is None
    assert CADDYFILE not in [str(write.path) for write in step.writes]


def test_a_caddyfile_that_setup_wrote_whole_becomes_the_import(inventory: Inventory) -> None:
    text = files.caddyfile(inventory, inventory.host("front"))
    facts = dataclasses.replace(FRESH, paths={CADDYFILE: THEIRS}, texts={CADDYFILE: text})
    changes = _plan(inventory, facts)
    step = _install(changes)
    assert step is not None
    assert step.append_to is None
    assert {str(one.path): one.text for one in step.writes} == {
        CADDY_SITE: text,
        CADDYFILE: f"import {CADDY_SITE}\n",
    }
    assert _line(changes, "caddy: ").endswith(f"; replaces {CADDYFILE}")


# nginx

WITH_NGINX = dataclasses.replace(FRESH, packages=frozenset({"nginx"}))


@pytest.mark.parametrize("there", [(), ("fullchain.pem",), ("privkey.pem",)])
def test_nginx_gets_no_https_before_there_is_a_certificate(
    inventory: Inventory, there: tuple[str, ...]
) -> None:
    live = "/etc/letsencrypt/live/app.example.com"
    paths = {f"{live}/{name}": Found("", 0o777, "root") for name in there}
    changes = _plan(inventory, dataclasses.replace(WITH_NGINX, paths=paths))
    step = _install(changes)
    assert step is not None
    (write,) = step.writes
    assert str(write.path) == NGINX_SITE
    assert "ssl_certificate" not in write.text
    assert "location /.well-known/acme-challenge/ { root /var/www/acme; }" in write.text
    told = _line(changes, "nginx: only port 80")
    assert f"until {live}/fullchain.pem exists" in told
    assert "certbot certonly --webroot -w /var/www/acme -d app.example.com -d api.example" in told
    assert f"then here: {command('setup front')}" in told
    assert "make /var/www/acme" in [one.what for one in changes]


def test_nginx_gets_the_whole_site_when_the_certificate_is_there(inventory: Inventory) -> None:
    live = "/etc/letsencrypt/live/app.example.com"
    paths = {f"{live}/{name}.pem": Found("", 0o777, "root") for name in ("fullchain", "privkey")}
    changes = _plan(inventory, dataclasses.replace(WITH_NGINX, paths=paths | {NGINX_SITE: THEIRS}))
    step = _install(changes)
    assert step is not None
    assert f"ssl_certificate {live}/fullchain.pem;" in step.writes[0].text
    assert _line(changes, "nginx: only port 80") == ""
    assert _line(changes, "nginx: serve").endswith(f"; replaces {NGINX_SITE}")


# Firewall


def test_the_plan_names_the_ports_that_the_firewall_shuts(
    inventory: Inventory, tmp_path: Path
) -> None:
    listening = (
        Listening(22, "tcp", "sshd"),
        Listening(443, "tcp", "caddy"),
        Listening(445, "tcp", "smbd"),
        Listening(9100, "tcp", "node_exporter"),
        Listening(51820, "udp", ""),
        Listening(112, "ip", "keepalived"),
    )
    facts = dataclasses.replace(FRESH, listening=listening)
    told = _line(_plan(inventory, facts), "firewall: ")
    assert "allow only 22/tcp, 80/tcp, 443/tcp, 443/udp, 3443/tcp from 203.0.113.11" in told
    assert "This blocks 445/tcp (smbd), 9100/tcp (node_exporter), 51820/udp, " in told
    assert "IP protocol 112 (keepalived); to keep one open, add its port, or the network" in told
    assert "[firewall] allow" in told
    assert "445" not in _line(
        _plan(inventory, dataclasses.replace(facts, systemd=False)), "firewall: "
    )

    file = tmp_path / "ocmt.toml"
    example = (ROOT / "deploy" / "ocmt.example.toml").read_text()
    file.write_text(f'{example}\n[firewall]\nallow = ["445/tcp", "9100/tcp", "51820/udp"]\n')
    told = _line(_plan(load_inventory(file), facts), "firewall: ")
    assert "445/tcp, 9100/tcp, 51820/udp. This blocks IP protocol 112" in told


@pytest.mark.parametrize("ports", [(22,), (22, 2200), (62000,)])
def test_ssh_is_never_shut_out(tmp_path: Path, ports: tuple[int, ...]) -> None:
    """A router may map `ssh_port` to another port of the host."""
    file = tmp_path / "ocmt.toml"
    example = (ROOT / "deploy" / "ocmt.example.toml").read_text()
    file.write_text(example.replace("# ssh_port = 2222", "ssh_port = 2222"))
    mapped = load_inventory(file)
    listening = tuple(Listening(port, "tcp", "sshd") for port in ports)
    facts = dataclasses.replace(FRESH, listening=listening)
    with pytest.raises(CommandFailed, match=rf"block ssh.*add allow = \[\"{ports[0]}/tcp\"\]"):
        _plan(mapped, facts, host="agents-1")
    also = dataclasses.replace(FRESH, listening=(*listening, Listening(2222, "tcp", "sshd")))
    told = _line(_plan(mapped, also, host="agents-1"), "firewall: ")
    assert f"This blocks {ports[0]}/tcp (sshd)" in told
    through = dataclasses.replace(also, ssh_port=ports[0])
    with pytest.raises(CommandFailed, match=rf"block ssh: it is at {ports[0]}/tcp"):
        _plan(mapped, through, host="agents-1")
    assert _plan(mapped, dataclasses.replace(also, ssh_port=2222), host="agents-1")


@pytest.mark.parametrize("program", ["dropbear", "systemd", "tinysshd", ""])
def test_a_connection_is_not_shut_out_whatever_serves_it(
    inventory: Inventory, program: str
) -> None:
    listening = (Listening(2200, "tcp", program), Listening(22, "tcp", "sshd"))
    facts = dataclasses.replace(FRESH, listening=listening, ssh_port=2200)
    with pytest.raises(CommandFailed, match=r"block ssh: it is at 2200/tcp.*\[\"2200/tcp\"\]"):
        _plan(inventory, facts, host="agents-1")


@pytest.mark.parametrize(
    ("connection", "port"),
    [
        ("198.51.100.7 51234 203.0.113.10 22", 22),
        ("2001:db8::7 51234 fe80::1%eth0 2200", 2200),
        ("", None),
        ("UNKNOWN 65535 UNKNOWN", None),
        ("a b c d", None),
    ],
)
def test_the_port_of_a_connection_is_read_from_sshds_variable(
    connection: str, port: int | None
) -> None:
    assert _ssh_port(connection) == port


def _as_planned(
    inventory: Inventory, facts: HostFacts, *, host: str = "front", but: str = ""
) -> HostFacts:
    """The facts of a host that has every file of the plan, except `but`."""
    writes = [
        step
        for change in _plan(inventory, facts, host=host)
        for step in change.steps
        if isinstance(step, Write) and str(step.path) != but
    ]
    paths = {
        str(one.path): Found(hashlib.sha256(one.text.encode()).hexdigest(), one.mode, "root")
        for one in writes
    }
    return dataclasses.replace(facts, paths=paths, units=frozenset({"ocmt-firewall.service"}))


@pytest.mark.parametrize(
    ("there", "loaded"), [(False, False), (False, True), (True, False), (True, True)]
)
def test_firewall_rules_are_loaded_before_they_are_written(
    inventory: Inventory, there: bool, loaded: bool
) -> None:
    """So that a setup that breaks off between the two does not leave rules that never apply."""
    place = "/etc/ocmt/firewall.nft"
    facts = _as_planned(inventory, FRESH, but="" if there else place)
    changes = _plan(inventory, dataclasses.replace(facts, firewall_loaded=loaded))
    steps = [step for change in changes for step in change.steps]
    nft = [at for at, step in enumerate(steps) if isinstance(step, Run) and step.argv[0] == "nft"]
    written = [at for at, step in enumerate(steps) if getattr(step, "path", None) == FIREWALL]
    assert bool(written) is not there
    if there and loaded:
        assert nft == []
        return
    check, load = (steps[at] for at in nft)
    assert isinstance(check, Run)
    assert isinstance(load, Run)
    assert (check.argv, load.argv) == (("nft", "-c", "-f", "-"), ("nft", "-f", "-"))
    assert check.stdin == load.stdin
    assert "table inet ocmt {" in load.stdin
    assert all(at > nft[-1] for at in written)


@pytest.mark.parametrize("when", ["ExecStartPost", "ExecReload", "ExecStopPost"])
def test_the_operators_nftables_service_brings_the_rules_back_after_its_flush(
    inventory: Inventory, when: str
) -> None:
    texts = {
        str(step.path): step.text
        for change in _plan(inventory)
        for step in change.steps
        if isinstance(step, Write)
    }
    drop_in = texts["/etc/systemd/system/nftables.service.d/ocmt.conf"]
    # "-": what is missing or wrong here does not fail the operator's unit.
    assert f"{when}=-/usr/sbin/nft -f {FIREWALL}\n" in drop_in


@pytest.mark.parametrize("host", ["front", "agents-1"])
def test_units_that_systemd_has_not_read_yet_are_read(inventory: Inventory, host: str) -> None:
    """An earlier setup broke off after it wrote them."""
    facts = _as_planned(inventory, FRESH, host=host)
    for stale in (False, True):
        changes = _plan(inventory, dataclasses.replace(facts, stale_units=stale), host=host)
        assert bool(_line(changes, "systemd: read the changed units")) is stale


# Settings and secrets


@pytest.mark.parametrize("there", ["VAULT_KEY=k1:theirs\n", "", "link", "folder", None])
def test_an_env_file_that_came_meanwhile_is_kept(
    inventory: Inventory, tmp_path: Path, there: str | None
) -> None:
    """Of a second setup of the same host, or of the operator: the plan's facts are older."""
    env = tmp_path / ".env"
    match there:
        case "link":
            env.symlink_to(tmp_path / "elsewhere")
        case "folder":
            env.mkdir()
        case str(text):
            env.write_text(text)
        case None:
            pass
    (change,) = (one for one in _plan(inventory) if "with new secrets" in one.what)
    (write,) = change.steps
    assert isinstance(write, Write)
    step = dataclasses.replace(write, path=PurePosixPath(env))
    if there is None:
        _apply(LocalHost("front"), [Change(change.what, (step,))])
        assert env.read_text() == write.text
        assert env.stat().st_mode & 0o777 == 0o600
    else:
        with pytest.raises(CommandFailed, match="is kept"):
            _apply(LocalHost("front"), [Change(change.what, (step,))])
        assert there in ("link", "folder") or env.read_text() == there
        assert not (tmp_path / "elsewhere").exists()
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] in ([".env"], [])


# Memory


@pytest.mark.parametrize(
    "theirs",
    ["PERCENT=25\n", "ALGO=lz4\nPERCENT=50\nPRIORITY=100\n", "# ours\nSIZE=256\n\n#ALGO=lz4\n"],
)
def test_the_operators_zram_settings_are_kept(inventory: Inventory, theirs: str) -> None:
    facts = dataclasses.replace(FRESH, paths={ZRAM: THEIRS}, texts={ZRAM: theirs})
    changes = _plan(inventory, facts, host="agents-1")
    written = [step.path for one in changes for step in one.steps if isinstance(step, Write)]
    assert PurePosixPath(ZRAM) not in written
    assert "is not changed" in _line(changes, "zram: ")


@pytest.mark.parametrize("there", [None, "", "# Compression\n#ALGO=lz4\n\n#PERCENT=50\n"])
def test_zram_is_configured_if_the_operator_has_not(
    inventory: Inventory, there: str | None
) -> None:
    facts = FRESH
    if there is not None:
        facts = dataclasses.replace(FRESH, paths={ZRAM: THEIRS}, texts={ZRAM: there})
    changes = _plan(inventory, facts, host="agents-1")
    written = [step.path for one in changes for step in one.steps if isinstance(step, Write)]
    assert PurePosixPath(ZRAM) in written
    replaced = f"; replaces {ZRAM}" in _line(changes, "swap compressed in RAM")
    assert replaced is (there is not None)
    same = dataclasses.replace(FRESH, paths={ZRAM: THEIRS}, texts={ZRAM: f"# Ours\n{files.ZRAM}"})
    changes = _plan(inventory, same, host="agents-1")
    assert _line(changes, "zram") == _line(changes, "swap compressed in RAM") == ""


def _swap(inventory: Inventory, *paths: str) -> list[Change]:
    """The changes about swap on a host that has these files of OCMT's plan."""
    bare = dataclasses.replace(FRESH, swap=False)
    unit = {
        str(step.path): Found(hashlib.sha256(step.text.encode()).hexdigest(), step.mode, "root")
        for change in _plan(inventory, bare, host="agents-1")
        for step in change.steps
        if isinstance(step, Write)
    }
    there = {path: unit.get(path, THEIRS) for path in paths}
    changes = _plan(inventory, dataclasses.replace(bare, paths=there), host="agents-1")
    return [one for one in changes if "swap of" in one.what or "swapfile.swap" in one.what]


SWAP_FILE, SWAP_UNIT = "/swapfile", "/etc/systemd/system/swapfile.swap"


def test_a_swap_file_that_a_setup_broke_off_at_is_finished(inventory: Inventory) -> None:
    whole = [change.what for change in _swap(inventory)]
    assert whole == ["swap of 8000 MB in /swapfile", "start swapfile.swap, now and at boot"]
    assert [change.what for change in _swap(inventory, SWAP_UNIT)] == whole
    assert [change.what for change in _swap(inventory, SWAP_UNIT, SWAP_FILE)] == whole[1:]
    assert _swap(inventory, SWAP_FILE) == [], "the operator's"


@pytest.mark.parametrize("fails", ["", "fallocate", "mkswap", "mv"])
def test_a_swap_file_is_there_only_when_it_is_whole(
    inventory: Inventory, tmp_path: Path, fails: str
) -> None:
    (make,) = (step for step in _swap(inventory)[0].steps if isinstance(step, Run))
    programs = {"fallocate": 'echo half > "$3"', "mkswap": ":", "mv": '/bin/mv "$1" "$2"'}
    for name, does in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{does}\n{'exit 1' if name == fails else ''}\n")
        program.chmod(0o755)
        if name == fails == "mv":
            program.write_text("#!/bin/sh\nexit 1\n")
    file = tmp_path / "swapfile"
    argv = [str(file) if word == SWAP_FILE else word for word in make.argv]
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (done.returncode == 0) is (fails == "")
    assert file.exists() is (fails == "")
    assert not file.with_name("swapfile.new").exists()
    if not fails:
        assert file.stat().st_mode & 0o777 == 0o600


# Certificates between hosts

TLS_FOLDER = "/opt/management-server/tls"


@pytest.mark.parametrize(
    ("folder", "file", "repaired"),
    [
        ((0o2750, "ocmt"), (0o640, "ocmt"), False),
        ((0o700, "root"), (0o640, "root"), True),  # made by `ocmt renew`
        ((0o2750, "root"), (0o640, "ocmt"), True),
        ((0o755, "ocmt"), (0o640, "ocmt"), True),
        ((0o2750, "ocmt"), (0o640, "root"), True),
        ((0o2750, "ocmt"), (0o644, "ocmt"), True),
    ],
)
def test_the_servers_user_reads_its_key_and_nobody_else_does(
    inventory: Inventory, folder: tuple[int, str], file: tuple[int, str], repaired: bool
) -> None:
    digest = hashlib.sha256(b"text").hexdigest()
    facts = dataclasses.replace(
        FRESH,
        paths={TLS_FOLDER: Found("", *folder), f"{TLS_FOLDER}/host.pem": Found(digest, *file)},
    )
    made = tls.changes(
        facts,
        inventory=inventory,
        host=inventory.host("front"),
        texts={"mgmt": {"host.pem": "text"}},
    )
    assert bool(list(made)) is repaired


@pytest.mark.parametrize(
    ("known", "there", "kept"),
    [
        (("new", "old"), "old", "old"),  # `ocmt renew` broke off
        (("new", "old"), "new", "new"),
        (("new", "old"), "other", "new"),
        (("new", "old"), None, "new"),
        (("new",), "old", "new"),
    ],
)
def test_setup_amid_a_broken_off_renewal_keeps_the_token_that_management_sends(
    inventory: Inventory, known: tuple[str, ...], there: str | None, kept: str
) -> None:
    trust = TrustFolder(Path("/nowhere"), Authority("key", "ca"), tuple(t * 20 for t in known))
    host = inventory.host("front")
    digest = hashlib.sha256(f"{(there or '') * 20}\n".encode()).hexdigest()
    paths = {f"{TLS_FOLDER}/tokens": Found(digest, 0o640, "ocmt")} if there else {}
    facts = dataclasses.replace(FRESH, paths=paths)
    files = tls.files_for(inventory, host, "mgmt", facts, trust)
    assert files["tokens"] == f"{kept * 20}\n"
    accepted = tls.files_for(inventory, inventory.host("agents-1"), "agent", facts, trust)
    assert accepted["tokens"].split() == [token * 20 for token in known]


# The deploy key

KEY = "ssh-ed25519 AAAAC3Nz ops@desk"


@pytest.mark.parametrize(
    "line", [KEY, 'from="203.0.113.0/24",no-pty ssh-ed25519 AAAAC3Nz old', "ssh-ed25519 AAAAC3Nz"]
)
def test_an_accepted_key_is_not_added_without_its_restrictions(
    inventory: Inventory, line: str
) -> None:
    for keys, added in (({line}, False), ({f"# {line}"}, True), ({"ssh-ed25519 AAAAother"}, True)):
        facts = dataclasses.replace(FRESH, keys=frozenset(keys))
        assert bool(_line(_plan(inventory, facts, key=KEY), "add the deploy key to")) is added


@pytest.mark.parametrize(
    "there", [None, "", "ssh-ed25519 AAAAother a", "ssh-ed25519 AAAAother a\n"]
)
def test_adding_the_key_keeps_what_is_there(
    inventory: Inventory, tmp_path: Path, there: str | None
) -> None:
    (change,) = (one for one in _plan(inventory, key=KEY) if "deploy key to" in one.what)
    (step,) = change.steps
    assert isinstance(step, Run)
    keys = tmp_path / "home" / ".ssh" / "authorized_keys"
    keys.parent.parent.mkdir()
    if there is not None:
        keys.parent.mkdir(mode=0o750)
        keys.write_text(there)
        keys.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(keys, 1234, 1234)
    argv = [*step.argv[:-1], str(keys)]
    subprocess.run(argv, input=step.stdin.encode(), check=True)
    assert keys.read_text().splitlines() == [*(there or "").splitlines(), KEY]
    found = keys.stat()
    assert found.st_mode & 0o777 == (0o600 if there is None else 0o640)
    if there is not None and os.geteuid() == 0:
        assert found.st_uid == 1234
        assert keys.parent.stat().st_mode & 0o777 == 0o750
