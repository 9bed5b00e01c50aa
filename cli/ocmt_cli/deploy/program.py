"""Packs modules to run on a host's Python, so that the host needs no installation of OCMT.

The packed modules are the first bytes of the program's standard input, so both sides always have
the same version. The program reads the rest.
"""

import functools
import io
import zipfile
from importlib import resources

# Must run on any Python, to report one that is too old.
_BOOT = """\
import os, sys
if sys.version_info < (3, 11):
    sys.exit("Python %d.%d is too old; install Python 3.11 or newer" % sys.version_info[:2])
size = int(sys.stdin.buffer.readline())
packed = os.memfd_create("ocmt")
os.write(packed, sys.stdin.buffer.read(size))
sys.path.insert(0, "/proc/self/fd/%d" % packed)
from {module} import main
main()
"""

# Modules of `ocmt_common` that all programs may use: they need no third-party packages.
SHARED = ("atomic_files.py", "container_names.py", "file_lock.py", "process_identity.py")


def python_argv(module: str) -> list[str]:
    """The command that runs `main` of a packed module, with UTF-8 in any locale."""
    return ["python3", "-I", "-X", "utf8", "-c", _BOOT.format(module=module)]


@functools.cache
def packed(*places: str) -> bytes:
    """A program's first bytes of input: the length of a zip file, and the zip file.

    `places` are modules and folders below `ocmt_cli`, whose parent packages are packed empty. The
    modules in `SHARED` are always included.
    """
    buffer = io.BytesIO()
    package = resources.files("ocmt_cli")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ocmt_common/__init__.py", "")
        common = resources.files("ocmt_common")
        for name in SHARED:
            archive.writestr(f"ocmt_common/{name}", common.joinpath(name).read_bytes())
        above = {"", *(place.rpartition("/")[0] for place in places)}
        for folder in sorted(above):
            archive.writestr(f"ocmt_cli/{folder}/__init__.py".replace("//", "/"), "")
        for place in places:
            found = package.joinpath(*place.split("/"))
            if found.is_file():
                archive.writestr(f"ocmt_cli/{place}", found.read_bytes())
                continue
            for module in found.iterdir():
                if module.name.endswith(".py"):
                    archive.writestr(f"ocmt_cli/{place}/{module.name}", module.read_bytes())
    program = buffer.getvalue()
    return b"%d\n" % len(program) + program
