"""Shell completion: every verb as one typer application, which is what typer completes words of.

A shell calls `limner` with the variable `_LIMNER_COMPLETE` set; `limner --install-completion` tells it to.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from limner.cli.app import Verb


def complete_app(verbs: Iterable[Verb]) -> typer.Typer:
    """All verbs as one application, with typer's own options for completion."""
    app = typer.Typer(no_args_is_help=True)
    app.pretty_exceptions_enable = False
    for verb in verbs:
        target = getattr(importlib.import_module(verb.module), verb.attribute)
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=verb.name, help=verb.help)
        else:
            app.command(verb.name, help=verb.help)(target)
    return app
