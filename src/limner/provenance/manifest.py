"""The C2PA manifest: a signed statement inside the file of what made it and from what. Extra ``provenance``.

No network: no time stamp is asked for, no certificate looked up, no remote manifest fetched.
"""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import dataclass
from typing import Any

from limner import __version__
from limner.errors import InputError
from limner.provenance.credentials import Credentials
from limner.provenance.recipe import TYPES, kind_of

GENERATOR = "Limner"
RECIPE_LABEL = "org.limner.recipe"
OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "builder": {"thumbnail": {"enabled": False}},  # a face twice in a file is once too often
}


@dataclass(frozen=True)
class Ingredient:
    """A picture that went into another one, as the bytes of its file."""

    title: str
    data: bytes
    mime: str
    edited: bool = False
    """It was changed into the new picture (C2PA: parentOf), and not only looked at (inputTo). One at most."""


@dataclass(frozen=True)
class Manifest:
    """What the manifest of a file says, and whether it can be believed."""

    state: str
    """``Trusted``: signed by someone a trust list knows; ``Valid``: unchanged since signed, by anyone; ``Invalid``."""
    generator: str
    signer: str
    source_types: tuple[str, ...]
    ingredients: tuple[str, ...]
    faults: tuple[str, ...]
    """C2PA's codes of what failed."""

    @property
    def is_ours(self) -> bool:
        """It holds, and what signed it calls itself Limner."""
        return self.state in ("Trusted", "Valid") and self.generator == GENERATOR


def available() -> bool:
    """Is the extra installed?"""
    return importlib.util.find_spec("c2pa") is not None


def sign(
    file: bytes, mime: str, recipe: dict[str, Any], with_: Credentials, ingredients: tuple[Ingredient, ...] = ()
) -> bytes:
    """The same file with a manifest. ``InputError`` if the certificates do not serve."""
    import c2pa

    kind = kind_of(recipe)
    changed = any(one.edited for one in ingredients)
    agent = {"name": GENERATOR, "version": __version__}
    action: dict[str, Any] = {"digitalSourceType": TYPES[kind], "softwareAgent": agent}
    action["action"] = "c2pa.edited" if changed else "c2pa.created"
    statement = {
        "claim_generator_info": [agent],
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": RECIPE_LABEL, "data": recipe},
        ],
    }
    if changed:
        statement["assertions"][0]["data"]["actions"].insert(0, _opened())
    signed = io.BytesIO()
    signer_info = c2pa.C2paSignerInfo(with_.algorithm.encode(), with_.certificates, with_.key, None)
    try:
        with (
            c2pa.Context.from_dict(OFFLINE) as context,
            c2pa.Signer.from_info(signer_info) as signer,
            c2pa.Builder.from_json(json.dumps(statement), context) as builder,
        ):
            for one in ingredients:
                about = {"title": one.title, "relationship": "parentOf" if one.edited else "inputTo"}
                if one.edited:
                    about["instance_id"] = _PARENT
                builder.add_ingredient(json.dumps(about), one.mime, io.BytesIO(one.data))
            builder.sign(signer, mime, io.BytesIO(file), signed)
    except c2pa.C2paError as error:
        raise InputError(f"the manifest could not be signed: {str(error).splitlines()[0]}") from None
    return signed.getvalue()


def read(file: bytes, mime: str) -> Manifest | None:
    """The manifest of a file, checked; None if it has none. ``InputError`` if it is too damaged to read."""
    import c2pa

    try:
        with c2pa.Context.from_dict(OFFLINE) as context:
            reader = c2pa.Reader.try_create(mime, io.BytesIO(file), context=context)
            if reader is None:
                return None
            with reader:
                state = reader.get_validation_state() or "Invalid"
                active = reader.get_active_manifest() or {}
                results = reader.get_validation_results() or {}
    except c2pa.C2paError as error:
        raise InputError(f"the manifest in this file is damaged: {str(error).splitlines()[0]}") from None
    signature = active.get("signature_info") or {}
    names = [signature.get("common_name"), signature.get("issuer")]
    generator = next(iter(active.get("claim_generator_info") or []), {})
    actions = [
        action
        for assertion in active.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    failures = (results.get("activeManifest") or {}).get("failure") or []
    return Manifest(
        state=state,
        generator=str(generator.get("name", "")),
        signer=", ".join(str(name) for name in names if name),
        source_types=tuple(action["digitalSourceType"] for action in actions if "digitalSourceType" in action),
        ingredients=tuple(str(one.get("title", "")) for one in active.get("ingredients", [])),
        faults=tuple(str(failure.get("code", "")) for failure in failures),
    )


_PARENT = "limner:edited"


def _opened() -> dict[str, Any]:
    """C2PA wants the edited picture named as opened before it is edited."""
    return {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}}
