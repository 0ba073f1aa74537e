"""Is this picture or film Limner's? Three marks, reported apart, each with what it proves and what it does not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limner.errors import InputError
from limner.faces.picture import read_picture
from limner.faces.video import MIME, Clip, frame_at, is_video
from limner.provenance import manifest as c2pa_manifest
from limner.provenance.detect import Found, detect_any
from limner.provenance.manifest import Manifest
from limner.provenance.pattern import BITS
from limner.provenance.picture import FINGERPRINT_BITS, KINDS
from limner.provenance.recipe import KEY, DamagedRecipe, find_recipe, fingerprint, recipe_in_comment

Verdict = Literal["made", "claimed", "damaged", "none"]
"""made: the watermark or a valid manifest says that Limner made it. claimed: only the recipe says so, and anyone can
write one. damaged: the recipe cannot be parsed. none: no mark was found."""
MAGIC = {"image/png": (0, b"\x89PNG\r\n\x1a\n"), "image/jpeg": (0, b"\xff\xd8\xff"), "image/webp": (8, b"WEBP")}
SHOWN = 80  # characters of what a recipe says of itself
FRAMES = 5
"""Of a film, spread evenly, that are looked at for a watermark (our choice: in some the face may be out of sight)."""


@dataclass(frozen=True)
class Report:
    """What the marks in one file say."""

    recipe: dict[str, Any] | None
    recipe_fault: str | None
    watermark: Found
    manifest: Manifest | None
    manifest_fault: str | None
    """Why no manifest could be looked for or read; None if it was looked for."""

    @property
    def ours(self) -> bool:
        """Whether the watermark or a valid manifest says that Limner made it. A recipe alone does not count."""
        return self.watermark.found or (self.manifest is not None and self.manifest.is_ours)

    @property
    def verdict(self) -> Verdict:
        """The overall result. A damaged recipe outweighs the other marks: the file was tampered with or is broken."""
        if self.recipe_fault is not None:
            return "damaged"
        return "made" if self.ours else "claimed" if self.recipe is not None else "none"

    @property
    def kind(self) -> str | None:
        """``painting`` or ``edit``, as the watermark says; None if there is none, too faint, or a later version's."""
        found, bits = self.watermark, BITS - FINGERPRINT_BITS
        could_be = [name for kind, name in KINDS.items() if found.says(kind, bits, FINGERPRINT_BITS)]
        return could_be[0] if len(could_be) == 1 else None

    @property
    def belongs(self) -> bool | None:
        """Do watermark and recipe belong together? None unless both are there and the mark is clear enough to say."""
        if self.recipe is None:
            return None
        return self.watermark.says(fingerprint(self.recipe, FINGERPRINT_BITS), FINGERPRINT_BITS)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``says`` has the sentences of ``sentences``."""
        found, manifest = self.watermark, self.manifest
        return {
            "limner": self.ours,
            "verdict": self.verdict,
            "recipe": self.recipe,
            "watermark": {
                "found": found.found,
                "score": round(found.score, 2),
                "chance": found.chance,
                "kind": self.kind,
                "mirrored": found.mirrored,
                "belongs_to_recipe": self.belongs,
            },
            "manifest": None if manifest is None else {**vars(manifest), "limner": manifest.is_ours},
            "says": self.sentences(),
        }

    def sentences(self) -> dict[str, str]:
        """Of each mark what it says, what that proves, and what it does not. One line each, safe to print."""
        spoken = {
            "recipe": _about_recipe(self),
            "watermark": _about_watermark(self),
            "manifest": _about_manifest(self),
        }
        return {mark: "".join(c if c.isprintable() else "?" for c in text) for mark, text in spoken.items()}


def verify(path: str | os.PathLike[str]) -> Report:
    """Look for all three marks in a picture file, or in a video by its name (extra ``video``).

    ``InputError`` if it is neither.
    """
    film = is_video(os.fspath(path))
    pictures = [frame_at(Path(path), (k + 0.5) / FRAMES) for k in range(FRAMES)] if film else [read_picture(path)]
    recipe, recipe_fault, manifest, manifest_fault = None, None, None, None
    try:
        recipe = recipe_in_comment(Clip.open(Path(path)).comment) if film else find_recipe(path)
    except DamagedRecipe as error:
        recipe_fault = str(error)
    file = Path(path).read_bytes()
    mime = MIME[".mp4"] if film and file[4:8] == b"ftyp" else mime_of(file)
    if mime is None:
        manifest_fault = "Limner looks for manifests in PNG, JPEG, WebP and MP4 only"
    elif not c2pa_manifest.available():
        manifest_fault = "it takes the extra: `pip install 'limner[provenance]'`"
    else:
        try:
            manifest = c2pa_manifest.read(file, mime)
        except InputError as error:
            manifest_fault = str(error)
    return Report(recipe, recipe_fault, detect_any(pictures), manifest, manifest_fault)


def mime_of(file: bytes) -> str | None:
    """The media type of a file's first bytes, of those that can hold a recipe."""
    return next((mime for mime, (at, magic) in MAGIC.items() if file[at : at + len(magic)] == magic), None)


def _about_recipe(report: Report) -> str:
    if report.recipe_fault:
        return f"damaged ({report.recipe_fault})"
    if report.recipe is None:
        return "none. Most sites and editors drop it, so that proves nothing."
    engine, version = (str(report.recipe.get(name, "?"))[:SHOWN] for name in ("engine", KEY))
    made = f"made by the engine {engine} of Limner {version}, it says"
    if report.recipe.get("watermark") is False:
        made += ", its watermark declined"
    return f"{made}. It tells how to make the picture again; anyone can write such a text, so alone it proves nothing."


def _about_watermark(report: Report) -> str:
    found = report.watermark
    if not found.found:
        return (
            "not found. That proves nothing: there was none, or the picture was turned, redrawn, or made very small,"
            " or only a small part of it was edited."
        )
    chance = f"{found.chance:.0e}" if found.chance > 1e-99 else "1e-99"
    said = f"found, of {'an edit' if report.kind == 'edit' else 'a painting' if report.kind else 'an unknown kind'}"
    said += f"{', mirrored' if found.mirrored else ''} (score {found.score:.1f}; by chance in fewer than {chance}). "
    if report.belongs is not None:
        said += "It fits the recipe. " if report.belongs else "It does NOT fit the recipe, which came from elsewhere. "
    return said + (
        "It proves that the pixels, or a picture they were made from, passed through Limner's marker; not by whose"
        " hand, nor that nothing changed since. Limner is open: who wants to can remove it, or put it on a photograph."
    )


def _about_manifest(report: Report) -> str:
    manifest = report.manifest
    if report.manifest_fault:
        return f"not read: {report.manifest_fault}."
    if manifest is None:
        if report.recipe is not None and report.recipe.get("manifest") is True:
            return "none, though the recipe says that one was signed: it was removed, or the recipe copied."
        return "none. Most sites and editors drop it, so that proves nothing."
    by = f"signed by {manifest.signer or 'nobody named'} with {manifest.generator or 'an unnamed program'}"
    if manifest.state not in ("Trusted", "Valid"):
        faults = ", ".join(manifest.faults) or "no reason given"
        return f"{by}, but it does not hold ({faults}): the file was changed after signing, or it was never right."
    kinds = ", ".join(one.rpartition("/")[2] for one in manifest.source_types)
    said = f"{by}{f', as {kinds}' if kinds else ''}. It proves that the file has not changed since it was signed; "
    if manifest.state == "Trusted":
        return said + "the signer is known to a trust list. It does not prove that what the signer says is true."
    return said + "the signer is in no trust list, so not who signed it."
