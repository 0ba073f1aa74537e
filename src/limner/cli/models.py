"""Verb `models`: list, download, verify and locate weights."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from limner.cli.terminal import console
from limner.errors import InputError
from limner.weights.registry import Entry, find_entry, registry
from limner.weights.store import home, installed, locate
from limner.weights.store import verify as verify_weights

app = typer.Typer(add_completion=False, no_args_is_help=True, help="List, download, verify and locate weights.")

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def describe(entry: Entry) -> dict[str, Any]:
    """All that is known of an entry, ready for JSON. `bytes` is None while only the hub knows the sizes."""
    found = installed(entry)
    size = sum(file.size for file in found.files) if found else entry.size
    return {
        "name": entry.name,
        "summary": entry.summary,
        "licence": entry.licence,
        "source": entry.source,
        "trained_on": entry.trained_on,
        "in_package": entry.embedded,
        "here": found is not None,
        "path": str(found.folder) if found else None,
        "bytes": size or None,
        "commit": found.commit if found else None,
        "hub": None if entry.hub is None else {"repo": entry.hub.repo, "revision": entry.hub.revision},
    }


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List all weights with their status, size and licence."""
    rows = [describe(entry) for entry in registry().values()]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("what", ratio=3)
    table.add_column("licence", ratio=2)
    for row in rows:
        here = "package" if row["in_package"] and row["here"] else (row["commit"] or "")[:8] if row["here"] else "-"
        megabytes = f"{row['bytes'] / 1e6:,.1f}" if row["bytes"] else "-"
        table.add_row(row["name"], here, megabytes, row["summary"], row["licence"])
    console().print(table)


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", show_default=False)],
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch on the hub. Only with a single NAME.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not use the network; only check local files.")] = False,
) -> None:
    """Download weights from the Hugging Face hub and print their licence. Interrupted downloads are continued."""
    from limner.weights.hub import pull as pull_weights

    if revision is not None and len(names) > 1:
        raise InputError("--revision belongs to one NAME: pull the others in a command of their own")
    for entry in [find_entry(name) for name in names]:
        pull_weights(entry, revision=revision, offline=offline)


@app.command()
def verify(names: Names = None, as_json: AsJson = False) -> None:
    """Check size and SHA-256 of the named weights, or of all local ones. Exit code 1 if a file is wrong."""
    chosen = names or [entry.name for entry in registry().values() if installed(entry) is not None]
    faults: dict[str, str | None] = {}
    for name in chosen:
        find_entry(name)
        try:
            verify_weights(name)
            faults[name] = None
        except InputError as error:
            faults[name] = str(error)
    if as_json:
        print(json.dumps([{"name": name, "fault": fault} for name, fault in faults.items()], indent=2))
    else:
        for name, fault in faults.items():
            print(
                f"ok   {name}" if fault is None else f"BAD  {fault}", file=sys.stdout if fault is None else sys.stderr
            )
    if any(faults.values()):
        raise typer.Exit(1)


@app.command()
def where(names: Names = None, as_json: AsJson = False) -> None:
    """Print the path of the named weights; without NAME, the download folder (LIMNER_HOME)."""
    paths = {name: str(locate(name)) for name in names} if names else {"home": str(home())}
    print(json.dumps(paths, indent=2) if as_json else "\n".join(paths.values()))
