"""The command `limner`: finds the verb, loads its file only then, and turns errors into one line and a status.

Status 0: done. 1: done, and the answer is no (a failed check). 2: the user can mend it. 130: interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from limner import __version__
from limner.aliases import renamed_options
from limner.cli.terminal import print_any_name
from limner.errors import InputError


class Verb(NamedTuple):
    """One word after `limner`. `attribute` of `module` is a function (one command) or a typer.Typer (several)."""

    name: str
    module: str
    attribute: str
    help: str


# A new verb is one line here and one file beside this one.
VERBS = (
    Verb("read", "limner.cli.read", "read", "Read the faces in photos: boxes, landmarks, regions, attributes."),
    Verb("compare", "limner.cli.compare", "compare", "Do two photos show the same person?"),
    Verb(
        "find", "limner.cli.compare", "find", "Find the faces in a folder that are most similar to the one in a photo."
    ),
    Verb("describe", "limner.cli.describe", "describe", "Describe the faces in photos in words."),
    Verb("ask", "limner.cli.describe", "ask", "Ask questions about the faces in photos."),
    Verb("chat", "limner.cli.describe", "chat", "Chat about a photo; later questions see earlier answers."),
    Verb("paint", "limner.cli.paint", "paint", "Generate portraits from text, a region map, or both."),
    Verb("replay", "limner.cli.paint", "replay", "Reproduce a picture from the recipe inside its file."),
    Verb("edit", "limner.cli.edit", "edit", "Change pose, gaze, expression or parts of a face."),
    Verb("swap", "limner.cli.swap", "swap", "Swap faces or heads in photos and videos."),
    Verb(
        "reenact",
        "limner.cli.swap",
        "reenact",
        "Animate a photo with the expression, pose and gaze of a photo or video.",
    ),
    Verb("animate", "limner.cli.edit", "animate", "Render a face in the style of another base model."),
    Verb("verify", "limner.cli.verify", "verify", "Check whether Limner made a picture: recipe, watermark, manifest."),
    Verb("studio", "limner.cli.serve", "studio", "Open the studio, a web page to read, ask, paint and edit."),
    Verb("serve", "limner.cli.serve", "serve", "Serve the HTTP API, including OpenAI-compatible endpoints."),
    Verb("data", "limner.cli.data", "app", "Generate, build and inspect data sets of faces."),
    Verb("train", "limner.cli.train", "train", "Train a model from a training config, or resume a run."),
    Verb("evaluate", "limner.cli.evaluate", "app", "Evaluate weights; write tables and figures."),
    Verb("models", "limner.cli.models", "app", "List, download, verify and locate weights."),
    Verb("doctor", "limner.cli.doctor", "doctor", "Check the installation, or published checkpoints on this machine."),
    Verb("demo", "limner.cli.demo", "demo", "Run the main functions on bundled photographs and write one page."),
)

LASTING = ("serve", "studio", "train", "data")
"""Verbs that may run for hours."""

# What an absent module means to a user: the extra of pyproject.toml that brings it.
EXTRAS = {
    "tensorboard": "train",
    "prodigyopt": "train",
    "ray": "scale",
    "torchmetrics": "eval",
    "torch_fidelity": "eval",
    "open_clip": "eval",
    "matplotlib": "eval",
    "gradio": "studio",
    "fastapi": "studio",
    "uvicorn": "studio",
    "prometheus_client": "studio",
    "python_multipart": "studio",
    "av": "video",
    "pyarrow": "data",
    "transformers": "full",
    "c2pa": "provenance",
    "cryptography": "provenance",
    "datasets": "dev",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` when None) and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    print_any_name()
    try:
        if "_LIMNER_COMPLETE" in os.environ or (words and words[0] in ("--install-completion", "--show-completion")):
            return complete(words)
        if not words or words[0] in ("--help", "-h"):
            return show_help()
        if words[0] == "--version":
            print(f"limner {__version__}")
            return 0
        return run(find_verb(words[0]), words[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def complete(words: list[str]) -> int:
    """Complete a command line for a shell, or install that (`limner --install-completion`)."""
    from limner.cli.completion import complete_app

    try:
        complete_app(VERBS)(args=words, prog_name="limner")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def find_verb(word: str) -> Verb:
    """The verb of that name; InputError with the nearest one otherwise."""
    verbs = {verb.name: verb for verb in VERBS}
    if word in verbs:
        return verbs[word]
    near = difflib.get_close_matches(word, verbs, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "`limner --help` lists the verbs"
    raise InputError(f"no {'option' if word.startswith('-') else 'verb'} is called '{word}': {hint}")


def run(verb: Verb, words: list[str]) -> int:
    """Load a verb's file and hand it the rest of the command line."""
    import typer

    from limner.threads import choose_threads

    choose_threads(os.environ, lasting=verb.name in LASTING)
    try:
        target = getattr(importlib.import_module(verb.module), verb.attribute)
        if isinstance(target, typer.Typer):
            app = target
        else:
            app = typer.Typer(add_completion=False)
            app.command()(target)
        app.pretty_exceptions_enable = False
        app(args=renamed_options(words), prog_name=f"limner {verb.name}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        raise InputError(f"this needs the package '{package}': run `pip install 'limner[{extra}]'`") from error
    except SystemExit as leaving:
        # typer ends every command this way; it uses 130 for Ctrl-C without saying so
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def show_help() -> int:
    """Print the verbs without loading any of them."""
    width = max(len(verb.name) for verb in VERBS)
    print("usage: limner VERB …\n")
    print("Reads faces, describes them, generates them from text and masks, and edits them.\n")
    for verb in VERBS:
        print(f"  {verb.name:<{width}}  {verb.help}")
    print("\n`limner VERB --help` prints the options of a verb; `limner --version` prints the version,")
    print("`limner --install-completion` completes words in this shell.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
