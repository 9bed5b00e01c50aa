"""`ocmt capacity`: how many users a machine holds, always on and with hibernation."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from ocmt_common.console import complain, say, say_json

from ocmt_cli.capacity.figures import Figures, figures
from ocmt_cli.capacity.simulate import costs, lines, simulate
from ocmt_cli.capacity.table import BUSY_TO_CALM, RESERVE_TEXT, SEED_SIZES, Row, row
from ocmt_cli.checkout import DEFAULT_DATA, command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.memory.plan import SWAP_PER_RAM
from ocmt_cli.sizes import parse_size, show_size

capacity_app = typer.Typer(
    help="Estimate how many users a machine holds.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _size(text: str) -> int:
    size = _bytes(text)
    if size < 2 * 1024**3:
        raise typer.BadParameter("OCMT needs a machine of at least 2 GB.")
    return size


@capacity_app.callback()
def capacity(
    context: typer.Context,
    ram: Annotated[
        list[str] | None, typer.Option(help="The machine's memory, like 8GB; may be repeated.")
    ] = None,
    active: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Share of users active at once. [default: 0.1-0.2]"),
    ] = None,
    json_wanted: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Print how many users fit, always on and with hibernation and swap on disk."""
    if context.invoked_subcommand is not None:
        return
    try:
        measured = figures(data.resolve())
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    shares = BUSY_TO_CALM if active is None else (active, active)
    sizes = [_size(text) for text in ram] if ram else SEED_SIZES
    rows = [row(size, figures=measured, shares=shares) for size in sizes]
    if json_wanted:
        found = {
            "rows": [one.as_json() for one in rows],
            "activeShares": list(shares),
            "figures": asdict(measured),
            "assumptions": assumptions(measured, shares),
        }
        say_json(found)
        return
    for line in table(rows):
        say(line)
    say()
    for line in assumptions(measured, shares):
        say(line)


@capacity_app.command("simulate")
def simulate_days(  # noqa: PLR0917 (typer passes them by name)
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many users.")] = 1000,
    hosts: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, help="How many machines; the users of an office share one."
        ),
    ] = 1,
    ram: Annotated[str, typer.Option(help="Memory of each machine.")] = "64GB",
    swap: Annotated[
        str | None, typer.Option(help="Swap on disk of each machine. [default: 8 × RAM]")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of each machine.")] = 16,
    pause_after: Annotated[int, typer.Option(min=1, help="Minutes idle before a pause.")] = 30,
    stop_after: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Minutes paused before a stop. [default: when swap gets short; 240 without swap]",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=31)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same days.")] = 1,
    json_wanted: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    data: Annotated[Path, typer.Option(help="The installation's data folder.")] = DEFAULT_DATA,
) -> None:
    """Simulate users' days with the agent server's own decisions, and report what breaks."""
    try:
        measured = figures(data.resolve())
    except ValueError as error:
        raise CommandFailed(str(error)) from error
    ram_bytes = _size(ram)
    scenario = {
        "users": users,
        "hosts": hosts,
        "ramBytes": ram_bytes,
        "swapBytes": SWAP_PER_RAM * ram_bytes if swap is None else _bytes(swap),
        "cores": cores,
        "pauseAfterMinutes": pause_after,
        "stopAfterMinutes": stop_after,
        "days": days,
        "seed": seed,
        "costs": costs(measured),
    }
    outcome = simulate(scenario, progress=lambda text: complain(f"… {text}"))
    if json_wanted:
        say_json({"scenario": scenario, "outcome": outcome})
        return
    for line in lines(outcome, scenario):
        say(line)
    say(f"Figures: {measured.origin}.")


def table(rows: list[Row]) -> list[str]:
    """The rows as a Markdown table."""
    lines = [
        "| RAM    | Always-on users | With hibernation | Swap for them |",
        "| ------ | --------------- | ---------------- | ------------- |",
    ]
    for one in rows:
        users = f"~{one.fewest}" + (f"-{one.most}" if one.most != one.fewest else "") + " users"
        lines.append(
            f"| {show_size(one.ram_bytes):<6} | {f'~{one.always_on} users':<15} | {users:<16} "
            f"| {show_size(one.swap_bytes):<13} |"
        )
    return lines


def assumptions(measured: Figures, shares: tuple[float, float]) -> list[str]:
    lowest, highest = sorted(shares)
    percent = f"{highest:.0%}" if lowest == highest else f"{lowest:.0%} to {highest:.0%}"
    where = {"disk": "swap on disk", "zram": "swap compressed in RAM", "none": "no swap"}
    return [
        f"Assumed: {percent} of the users are active at the same time; {RESERVE_TEXT}.",
        f"An agent that is always on: {measured.awake_mb:.0f} MB. One that woke from sleep and "
        f"is trimmed, as memory is short: {measured.woken_mb:.0f} MB. Asleep: "
        f"{measured.asleep_mb:.0f} MB, and {measured.swap_mb:.0f} MB in swap "
        f"({where.get(measured.swap, measured.swap)}). A wake: {measured.wake_ms:.0f} ms.",
        f"Figures: {measured.origin}.",
        "Sleeping agents stay until swap gets short (STOP_AFTER_MS is not set): with less swap "
        "than in the table, those idle for longest are stopped, and their next message boots them.",
        "Long work (builds, big tools) takes more while it runs. Without swap on disk a sleeping "
        f"agent keeps its memory until it is stopped: see `{command('memory enable')}`.",
    ]
