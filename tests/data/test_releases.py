"""Public data sets as their users have them: miniature copies, made of real photographs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
from PIL import Image

from limner.data.build import build
from limner.data.shards import read_shards
from limner.data.sources import open_sources
from limner.data.stages import PARTS, RecordSettings, read_part_masks
from limner.data.video_frame import read_frame
from limner.errors import InputError
from limner.faces.picture import encode_png, read_picture, read_region_map
from limner.faces.regions import Region

sys.path.insert(0, str(Path(__file__).parent))
import plain_reader

SETTINGS = RecordSettings(captions=1, prompts=1, questions=2, min_size=30)


def photo(size: int = 256, top: int = 0) -> Image.Image:
    """The astronaut's head, square."""
    return Image.fromarray(skimage.data.astronaut()[top : 256 + top, 96:352]).resize((size, size))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return read_shards(folder).to_pylist()


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """MM-CelebA-HQ beside CelebAMask-HQ: photographs of 256 px, part masks of 128."""
    place = tmp_path / "mm"
    (place / "CelebA-HQ-img").mkdir(parents=True)
    (place / "celeba-caption").mkdir()
    (place / "CelebAMask-HQ-mask-anno" / "0").mkdir(parents=True)
    for k in range(3):
        photo(256, 8 * k).save(place / "CelebA-HQ-img" / f"{k}.jpg")
        (place / "celeba-caption" / f"{k}.txt").write_text(f"She has brown hair, {k}.\n\n She is smiling.\n")
    for part, box in (("hair", (0, 0, 128, 40)), ("skin", (30, 30, 98, 110)), ("l_eye", (70, 50, 80, 58))):
        mask = np.zeros((128, 128), np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = 255
        Image.fromarray(mask).save(place / "CelebAMask-HQ-mask-anno" / "0" / f"00001_{part}.png")
    return place


def test_mm_celeba_hq(celeba: Path, tmp_path: Path) -> None:
    items = open_sources([celeba])
    assert [item.id for item in items] == ["mm/0", "mm/1", "mm/2"] and not items[0].aligned
    assert items[0].captions == ("She has brown hair, 0.", "She is smiling.") and "non-commercial" in items[0].licence
    assert len(items[1].masks) == 3 and not items[0].masks
    build(items, tmp_path / "set", SETTINGS, workers=1, load_reader=plain_reader.load)
    rows = {row["id"]: row for row in rows_of(tmp_path / "set")}
    first = rows["mm/0"]
    assert first["captions"][:2] == ["She has brown hair, 0.", "She is smiling."] and len(first["captions"]) == 3
    assert [entry["style"] for entry in first["stated"]][:3] == ["carried", "carried", "long"]
    assert json.loads(first["stated"][0]["facts"])["hair_colour"] == "brown"
    drawn = read_region_map(rows["mm/1"]["regions"]["bytes"])
    # this reader cuts out a photo of 256 pixels as it is
    assert drawn[40, 128] == Region.HAIR and drawn[128, 128] == Region.SKIN and drawn[4, 4] == Region.HAIR
    assert drawn[54 * 2, 75 * 2] == Region.LEFT_EYE
    assert set(np.unique(read_region_map(first["regions"]["bytes"]))) == {0, 1}  # no masks: the reader's own
    # what was carried is carried on when the set is a source itself
    assert open_sources([tmp_path / "set"])[0].captions == ("She has brown hair, 0.", "She is smiling.")


def test_part_masks_lie_over_each_other_as_published(celeba: Path) -> None:
    paths = sorted((celeba / "CelebAMask-HQ-mask-anno" / "0").iterdir())
    ids = read_part_masks(paths)
    assert ids[35, 60] == Region.HAIR and ids[54, 75] == Region.LEFT_EYE and ids[100, 60] == Region.SKIN
    assert ids[35, 5] == Region.HAIR and ids[120, 5] == 0
    assert [PARTS[name] for name in ("eye_g", "u_lip", "ear_r", "neck_l", "cloth")] == [3, 11, 15, 16, 18]


def test_ffhq_text(tmp_path: Path) -> None:
    place = tmp_path / "FFHQ-Text"
    (place / "Image").mkdir(parents=True)
    (place / "Text").mkdir()
    for name in ("00007", "00012"):
        photo(512).save(place / "Image" / f"{name}.png")
        (place / "Text" / f"{name}.txt").write_text("\n".join(f"The girl {name} has {k} eyes." for k in range(9)))
    items = open_sources([place])
    assert [item.id for item in items] == ["FFHQ-Text/00007", "FFHQ-Text/00012"]
    assert all(item.aligned and len(item.captions) == 9 for item in items) and "BY-NC-SA" in items[0].licence
    plain = open_sources([place], layout="photos")
    assert not any(item.captions or item.aligned for item in plain)


def test_celebv_hq(tmp_path: Path) -> None:
    place = tmp_path / "celebv"
    place.mkdir()
    clips = {name: {"ytb_id": "one" if k < 2 else "two"} for k, name in enumerate(("a_0", "a_1", "b_0", "gone_0"))}
    (place / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))
    for name in ("a_0", "a_1", "b_0"):
        write_clip(place / "processed" / f"{name}.mp4")
    items = open_sources([place])
    assert [item.id for item in items] == ["celebv/a_0", "celebv/a_1", "celebv/b_0"]
    assert items[0].person == items[1].person != items[2].person
    frame = read_picture(items[0].load())
    assert frame.shape == (128, 128, 3)
    clip = place / "processed" / "a_0.mp4"
    shades = [int(read_picture(read_frame(clip, where))[:8, :8].mean()) for where in (0.0, 0.5, 1.0)]
    assert shades[0] < 30 and 80 < shades[1] < 170 and shades[2] > 190  # the corner brightens over the clip
    build(items, tmp_path / "set", SETTINGS, workers=1, load_reader=plain_reader.load)
    assert len(rows_of(tmp_path / "set")) == 3
    (place / "processed" / "b_0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"b_0\.mp4 is not a video that can be read"):
        open_sources([place])[2].load()


def write_clip(path: Path, frames: int = 21) -> None:
    """A clip of the astronaut whose upper left corner goes from black to white."""
    path.parent.mkdir(exist_ok=True)
    picture = np.array(photo(128))
    with av.open(str(path), "w") as clip:
        stream: Any = clip.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 128
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for k in range(frames):
            picture[:32, :32] = 255 * k // (frames - 1)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        clip.mux(stream.encode())


def test_unif2aced_as_json(tmp_path: Path) -> None:
    place = tmp_path / "UniF2aceD-1M"
    (place / "images").mkdir(parents=True)
    for name in ("x1.png", "x2.png"):
        photo().save(place / "images" / name)
    (place / "captions.json").write_text(json.dumps([{"image": n, "caption": f"A {n}."} for n in ("x1.png", "x2.png")]))
    turns = [
        {"from": "human", "value": "<image>\nIs she smiling?"},
        {"from": "gpt", "value": "Yes, broadly."},
        {"from": "human", "value": "What is behind her?"},
        {"from": "gpt", "value": "A flag."},
    ]
    lines = [{"image": "x1.png", "conversations": turns}, {"image": "x2", "vqa": [{"question": "Q?", "answer": "A."}]}]
    (place / "vqa.jsonl").write_text("\n".join(map(json.dumps, lines)))
    items = open_sources([place])
    assert [item.id for item in items] == ["UniF2aceD-1M/x1", "UniF2aceD-1M/x2"]
    assert items[0].captions == ("A x1.png.",) and items[1].questions == (("Q?", "A."),)
    build(items, tmp_path / "set", SETTINGS, workers=1, load_reader=plain_reader.load)
    row = next(row for row in rows_of(tmp_path / "set") if row["id"].endswith("x1"))
    kinds = [(q["question"], q["kind"], q["value"]) for q in row["questions"]]
    assert kinds[:2] == [("Is she smiling?", "yes/no", "yes"), ("What is behind her?", "open", "")]
    assert row["captions"][0] == "A x1.png."


def test_unif2aced_as_parquet(tmp_path: Path) -> None:
    place = tmp_path / "release"
    (place / "data").mkdir(parents=True)
    pictures = [{"bytes": encode_png(np.array(photo(top=8 * k))), "path": f"p{k}.png"} for k in range(2)]
    asked = {"from": "human", "value": "Describe the face."}
    describing = [[asked, {"from": "gpt", "value": f"Face {k}."}] for k in (0, 1)]
    table = pa.table({"image": pictures, "caption": ["One.", "Two."], "conversations": describing})
    pq.write_table(table, place / "data" / "train-0.parquet")
    items = open_sources([place], layout="unif2aced")
    assert [item.captions for item in items] == [("One.", "Face 0."), ("Two.", "Face 1.")]
    assert items[1].load() == pictures[1]["bytes"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[{"picture": "x.png", "caption": "c"}]', "no picture .* with the columns picture, caption"),
        (
            "a.json",
            '[{"image": "x.png", "label": 3}]',
            "no captions or questions .* columns image, label",
        ),
        ("a.json", '[{"image": "../x.png", "caption": "c"}]', "outside the folder"),
        ("a.json", "[1]", "is not a list of records"),
        ("a.jsonl", "{", "is not JSON"),
        ("a.parquet", "PAR1", "no whole Parquet file"),
        ("a.json", '[{"image": "x.png", "qa": ["?"]}]', "'qa' is not a list of question and answer"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        open_sources([tmp_path], layout="unif2aced")


def test_a_wrong_layout_says_what_it_needs(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    for layout, message in (
        ("celebv-hq", "needs celebvhq_info.json"),
        ("ffhq-text", "needs Image/NAME.png"),
        ("mm-celeba-hq", "needs CelebA-HQ-img"),
        ("unif2aced", "holds no annotations"),
        ("vggface", "choose one of auto"),
    ):
        with pytest.raises(InputError, match=message):
            open_sources([tmp_path], layout=layout)
    assert len(open_sources([tmp_path])) == 1


def test_columns_of_a_release_are_named_by_the_user(tmp_path: Path) -> None:
    from limner.data.releases import parse_columns

    place = tmp_path / "release"
    place.mkdir()
    pictures = [{"bytes": encode_png(np.asarray(photo(128, 8 * k))), "path": f"{k}.png"} for k in range(2)]
    asked = [[{"q": f"Is {k} happy?", "a": "Yes."}] for k in range(2)]
    table = pa.table({"photo": pictures, "refined": ["She smiles.", "He looks up."], "talk": asked, "text": ["no"] * 2})
    pq.write_table(table, place / "train.parquet")
    given = ["image=photo", "captions=refined", "questions=talk", "question=q", "answer=a"]
    items = open_sources([place], layout="unif2aced", columns=parse_columns(given))
    assert [item.captions for item in items] == [("She smiles.",), ("He looks up.",)], "text is not asked for"
    assert [item.questions for item in items] == [((f"Is {k} happy?", "Yes."),) for k in range(2)]
    assert read_picture(items[1].load()).shape == (128, 128, 3)
    with pytest.raises(InputError, match="no column 'image_0' in a record with the columns"):
        open_sources([place], layout="unif2aced", columns={"image": "image_0", "captions": "refined"})
    with pytest.raises(InputError, match="is not a list of question and a"):
        open_sources([place], layout="unif2aced", columns=parse_columns([*given[:3], "answer=a"]))
    with pytest.raises(InputError, match="write it as ROLE=NAME"):
        parse_columns(["caption=refined"])
