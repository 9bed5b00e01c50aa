"""`setup.hostside.site` with the real web servers' own checks; the reload is a double."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_cli.setup.hostside.site import Order, Refused, install

# A mount namespace is root's.
pytestmark = pytest.mark.needs("root", "ip")

SYSTEMCTL = """\
#!/bin/sh
here=$(dirname "$0")
if [ "$1" = show ]; then cat "$here/shown" 2>/dev/null; exit 0; fi
echo "$@" >> "$here/calls"
if [ -e "$here/refuses" ]; then echo "Job failed" >&2; exit 1; fi
"""
OURS = "app.example.com {\n\ttls internal\n\trespond ours\n}\n"
BLOG = "blog.example.com {\n\ttls internal\n\trespond theirs\n}\n"


class Machine:
    """A folder in place of /etc, which a service's user may enter, and a `systemctl`."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.bin = folder / "etc", folder / "bin"
        for made in (self.etc, self.bin):
            made.mkdir()
        (self.bin / "systemctl").write_text(SYSTEMCTL)
        (self.bin / "systemctl").chmod(0o755)

    def calls(self) -> list[str]:
        file = self.bin / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        return {
            str(one.relative_to(self.etc)): (one.lstat().st_mode, one.stat().st_uid, _content(one))
            for one in self.etc.rglob("*")
            if not one.is_dir()
        }


def _content(path: Path) -> bytes:
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="ocmt-site-"))
    folder.chmod(0o755)
    made = Machine(folder)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}:/usr/sbin:/sbin")
    monkeypatch.setenv("HOME", str(folder))
    yield made
    shutil.rmtree(folder)


def _caddy(machine: Machine) -> Order:
    folder = machine.etc / "caddy"
    folder.mkdir(exist_ok=True)
    main, site = str(folder / "Caddyfile"), str(folder / "ocmt.caddy")
    return {
        "folder": str(folder),
        "writes": {site: OURS},
        "append_to": main,
        "line": f"import {site}",
        "test": ["caddy", "validate", "--adapter", "caddyfile", "--config", main],
        "must_print": "",
        "conflicts": [],
        "service": "caddy",
        "cure": "THE CURE",
    }


def _served(caddyfile: str) -> set[str]:
    """The names that Caddy serves according to a Caddyfile."""
    adapted = subprocess.run(
        ["caddy", "adapt", "--adapter", "caddyfile", "--config", caddyfile],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {name for name in ("app.example.com", "blog.example.com") if name in adapted}


@pytest.mark.needs("caddy")
@pytest.mark.parametrize(
    "theirs",
    [
        BLOG.encode(),
        BLOG.encode().rstrip(b"\n"),
        b"# caf\xe9\n" + BLOG.encode(),
        b"{\n\tadmin off\n}\nimport sites/*.caddy\n",
    ],
)
def test_caddy_serves_ours_beside_theirs(machine: Machine, theirs: bytes) -> None:
    order = _caddy(machine)
    main = Path(order["append_to"])
    main.write_bytes(theirs)
    main.chmod(0o640)
    os.chown(main, 1234, 1234)
    (main.parent / "sites").mkdir()
    (main.parent / "sites" / "blog.caddy").write_text(BLOG if b"sites" in theirs else "")
    install(order)
    assert main.read_bytes().startswith(theirs)
    assert main.read_text(errors="replace").splitlines()[-1] == order["line"]
    assert (main.stat().st_mode & 0o777, main.stat().st_uid) == (0o640, 1234)
    assert _served(str(main)) == {"app.example.com", "blog.example.com"}
    assert machine.calls() == ["reload-or-restart caddy"]
    before = machine.files()
    install(order)
    assert machine.files() == before


@pytest.mark.needs("caddy")
def test_a_caddyfile_that_is_a_link_stays_one(machine: Machine) -> None:
    order = _caddy(machine)
    main, kept = Path(order["append_to"]), machine.etc / "kept-in-git"
    kept.write_text(BLOG)
    main.symlink_to(kept)
    install(order)
    assert main.is_symlink()
    assert kept.read_text() == f"{BLOG}\n{order['line']}\n"
    assert _served(str(main)) == {"app.example.com", "blog.example.com"}


@pytest.mark.needs("caddy")
def test_a_host_without_a_caddyfile_gets_one(machine: Machine) -> None:
    order = _caddy(machine)
    install(order)
    assert Path(order["append_to"]).read_text() == f"{order['line']}\n"


@pytest.mark.needs("caddy")
@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        # Its own site of our name, by hand or of an older setup; a single site without braces.
        (OURS, ("caddy does not accept the site", "ambiguous site definition", "THE CURE")),
        (BLOG + OURS, ("caddy does not accept the site", "ambiguous site definition", "THE CURE")),
        ("blog.example.com\nrespond hi\n", ("does not accept the site", "braces", "THE CURE")),
        ("a.example.com {\n\tno_such\n}\n", ("does not accept its present configuration",)),
        (
            "a.example.com {\n",
            ("does not accept its present configuration", "Correct that"),
        ),
    ],
)
def test_what_caddy_would_not_start_with_changes_nothing(
    machine: Machine, theirs: str, said: tuple[str, ...]
) -> None:
    order = _caddy(machine)
    Path(order["append_to"]).write_text(theirs)
    before = machine.files()
    with pytest.raises(Refused, match="so nothing was changed") as refused:
        install(order)
    for words in said:
        assert words in str(refused.value)
    assert machine.files() == before
    assert machine.calls() == []


@pytest.mark.needs("caddy")
@pytest.mark.parametrize("site_was_there", [False, True])
def test_a_site_that_is_not_loaded_is_removed_again(machine: Machine, site_was_there: bool) -> None:
    order = _caddy(machine)
    Path(order["append_to"]).write_text(BLOG)
    if site_was_there:
        Path(order["folder"], "ocmt.caddy").write_text("# older\n")
    (machine.bin / "refuses").touch()
    before = machine.files()
    with pytest.raises(Refused, match="its files were restored: Job failed"):
        install(order)
    assert machine.files() == before
    assert machine.calls() == ["reload-or-restart caddy"] * 2


@pytest.mark.needs("caddy")
def test_the_test_has_the_services_user_and_environment(machine: Machine) -> None:
    """Otherwise a log file becomes root's, and a name from the environment is missing."""
    logs = machine.etc.parent / "logs"
    logs.mkdir()
    shutil.chown(logs, "nobody")
    order = _caddy(machine)
    Path(order["append_to"]).write_text(
        "{$THEIR_NAME} {\n\ttls internal\n\tlog {\n\t\toutput file "
        + str(logs / "log")
        + "\n\t}\n}\n"
    )
    with pytest.raises(Refused):
        install(order)
    shutil.rmtree(logs)
    logs.mkdir()
    shutil.chown(logs, "nobody")
    running = subprocess.Popen(
        ["sleep", "60"], env=os.environ | {"THEIR_NAME": "blog.example.com", "HOME": str(logs)}
    )
    try:
        (machine.bin / "shown").write_text(f"User=nobody\nMainPID={running.pid}\n")
        install(order)
    finally:
        running.kill()
        running.wait()
    assert {file.owner() for file in logs.rglob("*")} <= {"nobody"}


# nginx


def _nginx(machine: Machine, *, include: str = "include {}/conf.d/*.conf;") -> Order:
    folder = machine.etc / "nginx"
    (folder / "conf.d").mkdir(parents=True)
    main, site = folder / "nginx.conf", str(folder / "conf.d" / "ocmt.conf")
    main.write_text(
        f"pid {machine.etc.parent}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {include.format(folder)} }}\n"
    )
    return {
        "folder": str(folder),
        "writes": {site: "server { listen 127.0.0.1:18081; server_name app.example.com; }\n"},
        "append_to": "",
        "line": "",
        "test": ["nginx", "-T", "-p", str(machine.etc), "-c", str(main)],
        "must_print": f"# configuration file {site}:",
        "conflicts": ['conflicting server name "app.example.com"'],
        "service": "nginx",
        "cure": "THE CURE",
    }


@pytest.mark.needs("nginx")
def test_nginx_gets_a_file_of_its_own(machine: Machine) -> None:
    order = _nginx(machine)
    theirs = Path(order["folder"], "conf.d", "blog.conf")
    theirs.write_text("server { listen 127.0.0.1:18081; server_name blog.example.com; }\n")
    before = machine.files()
    install(order)
    (site,) = order["writes"]
    made = machine.files()
    assert made.pop(str(Path(site).relative_to(machine.etc)))[0] & 0o777 == 0o644
    assert made == before
    assert machine.calls() == ["reload-or-restart nginx"]


@pytest.mark.needs("nginx")
@pytest.mark.parametrize(
    ("ours", "theirs", "include", "said"),
    [
        (
            "ssl_certificate /nowhere/chain.pem; ssl_certificate_key /nowhere/key.pem;",
            "",
            "",
            "cannot load certificate",
        ),
        ("no_such on;", "", "", 'unknown directive "no_such"'),
        (
            "",
            "server { listen 127.0.0.1:18081; server_name app.example.com; }",
            "",
            "nginx has another site with that name",
        ),
        ("", "", "include {}/sites-enabled/*;", "nginx would not read"),
        ("", "no_such on;", "", "does not accept its present configuration"),
    ],
)
def test_what_nginx_would_not_start_with_or_ignore_changes_nothing(
    machine: Machine, ours: str, theirs: str, include: str, said: str
) -> None:
    order = _nginx(machine, **({"include": include} if include else {}))
    (site,) = order["writes"]
    listen = "127.0.0.1:18081 ssl" if "ssl" in ours else "127.0.0.1:18081"
    order["writes"][site] = f"server {{ listen {listen}; server_name app.example.com; {ours} }}\n"
    Path(site).with_name("blog.conf").write_text(theirs)
    before = machine.files()
    with pytest.raises(Refused, match="so nothing was changed") as refused:
        install(order)
    assert said in str(refused.value)
    assert machine.files() == before
    assert machine.calls() == []
