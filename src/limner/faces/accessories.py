"""What a face wears or grows: beard, glasses, hat, jewellery. Judged by the trained heads and the region map."""

from __future__ import annotations

from limner.faces.evidence import Evidence, yes_or_no
from limner.faces.record import Attribute
from limner.faces.regions import Region

HEAD = "trait head on EfficientNet features"
MAP = "region map"


def worn(face: Evidence) -> dict[str, Attribute]:
    """Attributes of beards and of worn things that this face allows."""
    beard, eyewear = face.scores["beard"], face.scores["eyewear"]
    value, confidence = max(beard.items(), key=lambda item: item[1])
    found = {
        "beard": Attribute(value, confidence, HEAD),
        "five_o_clock_shadow": _whether(beard["stubble"]),
        "moustache": _whether(face.scores["moustache"]["yes"]),
        "glasses": _whether(1 - eyewear["none"]),
        "sunglasses": _whether(eyewear["sunglasses"]),
        "hat": _whether(face.scores["hat"]["yes"]),
    }
    ears = float(face.area(Region.LEFT_EAR, Region.RIGHT_EAR, Region.EAR_RING).sum())
    if ears > 60:  # behind hair nobody can tell
        found["earrings"] = yes_or_no(float(face.area(Region.EAR_RING).sum()), 100, 50, MAP)
    necklace = yes_or_no(float(face.area(Region.NECKLACE).sum()), 80, 50, MAP)
    if necklace.value:  # a "no" would be a guess: the parser misses most necklaces (docs/models/face-parser.md)
        found["necklace"] = necklace
    return found


def _whether(probability: float) -> Attribute:
    return Attribute(probability > 0.5, max(probability, 1 - probability), HEAD)
