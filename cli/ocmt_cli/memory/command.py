"""`ocmt memory enable`, `disable` and `status`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from ocmt_common.console import say, say_json

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory.apply import apply
from ocmt_cli.memory.machine import Machine, Places, look
from ocmt_cli.memory.plan import (
    DEFAULT_FILE,
    Plan,
    Refused,
    Wish,
    describe,
    plan_disable,
    plan_enable,
)
from ocmt_cli.memory.record import Made, read_made
from ocmt_cli.sizes import parse_size, show_size

memory_app = typer.Typer(
    help="Set up, show and remove swap for sleeping agents.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PlanOnly = Annotated[bool, typer.Option("--plan", help="Only print what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@memory_app.command()
def enable(  # noqa: PLR0917 (the command line gives them by name)
    swap: Annotated[
        str | None,
        typer.Option(help="Size of the swap file, like 32G; 0 for none. [default: 8 × RAM]"),
    ] = None,
    file: Annotated[Path, typer.Option(help="The swap file.")] = DEFAULT_FILE,
    encrypt: Annotated[
        bool,
        typer.Option(
            "--encrypt", help="Encrypt the file with a random key that is never stored (dm-crypt)."
        ),
    ] = False,
    zram: Annotated[
        bool, typer.Option("--zram", help="Compressed swap in RAM, before the disk.")
    ] = False,
    zswap: Annotated[
        bool, typer.Option("--zswap", help="A compressed cache in RAM, before the disk.")
    ] = False,
    plan: PlanOnly = False,
    as_json: AsJson = False,
) -> None:
    """Set up swap, also after reboots. Running it again does only what is missing."""
    wish = Wish(
        file=file.resolve(),
        swap_bytes=None if swap is None else _size(swap),
        encrypt=encrypt,
        zram=zram,
        zswap=zswap,
    )
    places = Places()
    made = _made(places)
    try:
        planned = plan_enable(wish, look(places, wish.file), made, places)
    except Refused as refusal:
        raise CommandFailed(str(refusal)) from refusal
    _run(planned, only_print=plan, as_json=as_json)


@memory_app.command()
def disable(plan: PlanOnly = False, as_json: AsJson = False) -> None:
    """Remove what `enable` has set up."""
    places = Places()
    made = _made(places)
    try:
        planned = plan_disable(look(places, _file_of(made)), made, places)
    except Refused as refusal:
        raise CommandFailed(str(refusal)) from refusal
    _run(planned, only_print=plan, as_json=as_json)


@memory_app.command()
def status(as_json: AsJson = False) -> None:
    """Show the machine's swap, and which of it `enable` has set up."""
    places = Places()
    made = _made(places)
    shown = report(look(places, _file_of(made)), made)
    if as_json:
        say_json(shown)
        return
    say(
        f"RAM        {show_size(shown['ramBytes'])}, {show_size(shown['availableBytes'])} available"
    )
    for area in shown["areas"]:
        say(
            f"swap       {area['device']}: {show_size(area['usedBytes'])} of "
            f"{show_size(area['sizeBytes'])} used, priority {area['priority']}"
            f"{', made by ocmt' if area['ours'] else ''}"
        )
    if not shown["areas"]:
        say(
            "swap       none: sleeping agents keep their memory in RAM. Run: "
            + command("memory enable")
        )
    zswap = shown["zswap"]
    say("zswap      " + (f"{zswap}" if isinstance(zswap, str) else f"on, {zswap['compressor']}"))
    if made is None:
        say("enabled    no")
    else:
        say(f"enabled    {describe(made)}")
        say(f"at boot    {'set up again by systemd' if shown['permanent'] else 'not set up again'}")


def report(machine: Machine, made: Made | None) -> dict[str, Any]:
    """The machine's swap, in bytes. `permanent`: whether OCMT's swap is set up again at boot."""
    ours = set()
    if made is not None:
        ours = {machine.mapped_device if made.encrypted else made.file, machine.zram_device}
    zswap: dict[str, str] | str = "not in this kernel"
    if machine.zswap is not None:
        settings = dict(machine.zswap)
        zswap = settings if settings["enabled"] == "Y" else "off"
    return {
        "ramBytes": machine.ram_bytes,
        "availableBytes": machine.available_bytes,
        "areas": [
            {
                "device": area.device,
                "sizeBytes": area.size_bytes,
                "usedBytes": area.used_bytes,
                "priority": area.priority,
                "ours": area.device in ours,
            }
            for area in machine.areas
        ],
        "zswap": zswap,
        "enabled": None if made is None else describe(made),
        "permanent": made is not None and machine.systemd and machine.unit_enabled,
    }


def _made(places: Places) -> Made | None:
    try:
        return read_made(places.record)
    except ValueError as error:
        raise CommandFailed(
            f"{error} Move that file away, and remove its swap by hand (see `swapon --show`)."
        ) from error


def _file_of(made: Made | None) -> Path:
    return Path(made.file) if made is not None and made.file else DEFAULT_FILE


def _run(plan: Plan, *, only_print: bool, as_json: bool) -> None:
    if as_json:
        quiet = {
            "summary": plan.summary,
            "steps": [str(step) for step in plan.steps],
            "repeatAtBoot": list(plan.not_permanent),
            "done": not only_print,
        }
        if not only_print:
            apply(plan, say=lambda _: None)
        say_json(quiet)
        return
    say(plan.summary)
    if not plan.steps:
        say("Nothing to do.")
    elif only_print:
        say("Steps:")
        for step in plan.steps:
            say(f"  {step}")
    else:
        apply(plan, say=say)
        say("Done.")
    if plan.not_permanent:
        say("This machine has no systemd: run these commands at each boot, as root:")
        for line in plan.not_permanent:
            say(f"  {line}")
