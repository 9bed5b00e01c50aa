"""`ocmt image build`, `pull` and `send`: the image of the agents' containers."""

import re
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import say
from ocmt_common.openclaw import default_image, openclaw_version

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.engine import Engine
from ocmt_cli.failure import CommandFailed, explained
from ocmt_cli.openclaw import engine_images
from ocmt_cli.openclaw.image import (
    CONTENT_LABEL,
    Layer,
    content_hash,
    make_base,
    make_openclaw,
    work_folder,
    write_archive,
)
from ocmt_cli.openclaw.install import install_openclaw
from ocmt_cli.progress import run_together

UPSTREAM = "ghcr.io/openclaw/openclaw"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

image_app = typer.Typer(
    help="The container image of the agents.", no_args_is_help=True, add_completion=False
)

DataOption = Annotated[
    Path, typer.Option("--data", help="The data folder, which holds OpenClaw's npm tree.")
]


@image_app.command()
def build(data: DataOption = DEFAULT_DATA) -> None:
    """Build the image from npm and Debian, without an image registry."""
    build_image(data.resolve() / "openclaw")


@image_app.command()
def pull(
    digest: Annotated[
        str, typer.Option(help="The digest to pull, sha256:…; tags move, digests do not.")
    ],
    repository: Annotated[str, typer.Option(help="The repository to pull from.")] = UPSTREAM,
) -> None:
    """Pull upstream's image by digest, and use it for the agents."""
    if not _DIGEST.fullmatch(digest):
        raise CommandFailed(
            f"{digest!r} is not a digest. Give sha256: and 64 hexadecimal digits, from upstream's "
            f"release page of OpenClaw {openclaw_version()}."
        )
    engine = _engine()
    try:
        run_together(
            {
                f"Pulling {repository}": lambda: engine_images.pull(
                    engine, repository, digest, name=default_image()
                )
            }
        )
    finally:
        engine.close()
    say(f"{repository}@{digest} is now {default_image()}.")


@image_app.command()
def send(
    host: Annotated[str, typer.Argument(help="An agent host of the inventory.")],
    inventory: Annotated[
        Path, typer.Option("--inventory", help="The inventory of servers.")
    ] = Path("ocmt.toml"),
) -> None:
    """Copy this machine's image to an agent server over ssh, without a registry."""
    from ocmt_cli.openclaw.sending import send_image  # noqa: PLC0415 (only with servers)

    send_image(default_image(), host, inventory)


def build_image(openclaw_dir: Path) -> None:
    """Build and load `default_image()`, unless the engine's has the same content."""
    engine = _engine()
    try:
        if engine_images.label_of(engine, default_image(), CONTENT_LABEL) == content_hash():
            say(f"{default_image()} is up to date.")
            return
        with explained(openclaw_dir), work_folder() as folder:
            work = Path(folder)
            layers: dict[str, Layer] = {}

            def base() -> None:
                layers["base"] = make_base(work)

            def openclaw() -> None:
                install_openclaw(openclaw_dir)
                layers["openclaw"] = make_openclaw(work, openclaw_dir)

            run_together({"A minimal Debian": base, "OpenClaw and Node": openclaw})
            archive = work / "image.tar"
            before = engine_images.id_of(engine, default_image())

            def load() -> None:
                write_archive(archive, [layers["base"], layers["openclaw"]], name=default_image())
                engine_images.load(engine, archive)
                if before not in (None, engine_images.id_of(engine, default_image())):
                    engine_images.remove_unused(engine, str(before))

            run_together({"Loading the image into the engine": load})
    finally:
        engine.close()
    say(f"{default_image()} is ready.")


def _engine() -> Engine:
    engine = Engine()
    if engine.version() is None:
        raise CommandFailed(f"No Docker Engine answers. {engine.cure()}")
    return engine
