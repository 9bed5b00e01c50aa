"""The changes that add OCMT's sites to a host's web server. Pure."""

from pathlib import PurePosixPath

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import HostEntry, Inventory
from ocmt_cli.setup import files
from ocmt_cli.setup.changes import Change, Install, Run, Write, write_if_different
from ocmt_cli.setup.facts import HostFacts

CADDYFILE = PurePosixPath("/etc/caddy/Caddyfile")
CADDY_SITE = PurePosixPath("/etc/caddy/ocmt.caddy")
NGINX_SITE = PurePosixPath("/etc/nginx/conf.d/ocmt.conf")


def front_of(facts: HostFacts) -> str:
    """The web server to use, since only one can have port 443.

    nginx if it is installed and Caddy is not, else Caddy.
    """
    return "nginx" if "nginx" in facts.packages and "caddy" not in facts.packages else "caddy"


def asked_paths(inventory: Inventory, host: HostEntry) -> list[PurePosixPath]:
    places = [CADDYFILE, CADDY_SITE, NGINX_SITE, files.CHALLENGES]
    asked = [host.path(place) for place in places]
    if files.nginx_names(inventory, host):
        asked += files.certificate(inventory, host)
    return asked


def front(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    if front_of(facts) == "nginx" and files.nginx_names(inventory, host):
        return _nginx(facts, inventory=inventory, host=host, systemd=systemd)
    if front_of(facts) == "caddy" and files.caddyfile(inventory, host):
        return _caddy(facts, inventory=inventory, host=host, systemd=systemd)
    return []


def _caddy(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    main, site = host.path(CADDYFILE), host.path(CADDY_SITE)
    text = files.caddyfile(inventory, host)
    line = f"import {site}"
    write = write_if_different(facts, site, text, 0o644)
    writes = [write] if write is not None else []
    current = facts.texts.get(str(main), "")
    imported = _imports(current, main, site)
    if current == text:
        # The file that `ocmt setup` of earlier releases wrote.
        writes.append(Write(main, f"{line}\n", 0o644, replaces=True))
    elif imported and not writes:
        return []
    append = None if imported or current == text else main
    by = f", by a line at the end of {main}" if append else ""
    step = Install(
        folder=main.parent,
        writes=tuple(writes),
        append_to=append,
        line=line,
        test=("caddy", "validate", "--adapter", "caddyfile", "--config", str(main))
        if systemd
        else (),
        must_print="",
        conflicts=(),
        service="caddy" if systemd else "",
        cure=f"In {main}, remove sites with the same names (OCMT's are in {site}), and put braces "
        "around a site without them.",
    )
    return [Change(f"caddy: serve {site}{by}", (step,))]


def _imports(caddyfile: str, main: PurePosixPath, site: PurePosixPath) -> bool:
    """Whether a line of `caddyfile` imports `site`, also by a pattern."""
    for words in map(str.split, caddyfile.splitlines()):
        if len(words) > 1 and words[0] == "import" and site.match(str(main.parent / words[1])):
            return True
    return False


def _nginx(
    facts: HostFacts, *, inventory: Inventory, host: HostEntry, systemd: bool
) -> list[Change]:
    site, challenges = host.path(NGINX_SITE), host.path(files.CHALLENGES)
    names = files.nginx_names(inventory, host)
    certificate = files.certificate(inventory, host)
    certified = all(str(path) in facts.paths for path in certificate)
    changes: list[Change] = []
    if str(challenges) not in facts.paths:
        make = Run(("mkdir", "-p", "-m", "755", str(challenges)))
        changes.append(Change(f"make {challenges}", (make,)))
    text = files.nginx_conf(inventory, host, certified=certified)
    if (write := write_if_different(facts, site, text, 0o644)) is not None:
        step = Install(
            folder=site.parent.parent,
            writes=(write,),
            append_to=None,
            line="",
            test=("nginx", "-T") if systemd else (),
            must_print=f"# configuration file {site}:",
            conflicts=tuple(f'conflicting server name "{name}"' for name in names),
            service="nginx" if systemd else "",
            cure=f"nginx.conf must have `include {site.parent}/*.conf;` in its http block, and no "
            f"other site may have the names {', '.join(names)}.",
        )
        changes.append(Change(f"nginx: serve {site}", (step,)))
    if not certified:
        domains = " ".join(f"-d {name}" for name in names)
        changes.append(
            Change(
                f"nginx: only port 80 is served until {certificate[0]} exists. Run there: apt-get "
                f"install certbot && certbot certonly --webroot -w {challenges} {domains} "
                f'--deploy-hook "systemctl reload nginx"; then here: '
                f"{command(f'setup {host.name}')}"
            )
        )
    return changes
