"""The C2PA manifest, signed and read back without a network."""

from __future__ import annotations

import datetime
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.app import main
from limner.errors import InputError
from limner.faces.picture import encode_jpeg, encode_png, read_picture
from limner.provenance import credentials as keys
from limner.provenance import manifest as manifests
from limner.provenance.manifest import Ingredient
from limner.provenance.recipe import MIME, TYPES, encode_with_recipe, read_recipe
from limner.provenance.verify import mime_of, verify
from provenance.faces import painted, photo

pytest.importorskip("c2pa", reason="the extra 'provenance' is not installed")
pytest.importorskip("cryptography", reason="the extra 'provenance' is not installed")


@pytest.mark.parametrize("suffix", MIME)
def test_round_trip(suffix: str) -> None:
    file, recipe = painted().encode(suffix, manifest=True)
    assert recipe["manifest"] is True and read_recipe(file) == recipe
    manifest = manifests.read(file, MIME[suffix])
    assert manifest is not None and manifest.state == "Valid" and manifest.is_ours
    assert manifest.source_types == (TYPES["painting"],) and manifest.ingredients == ()
    assert "vouched for by nobody" in manifest.signer
    plain = painted().encode(suffix, manifest=False)[0]
    assert np.array_equal(read_picture(file), read_picture(plain))
    assert manifests.read(plain, MIME[suffix]) is None


def test_an_edit_names_its_photograph_and_a_painting_its_map() -> None:
    photograph = Ingredient("the photograph", encode_jpeg(photo()), "image/jpeg", edited=True)
    drawn = Ingredient("region map", encode_png(photo(64)), "image/png")
    edit = manifests.read(replace(painted(kind="edit"), ingredients=(photograph, drawn)).encode(".png")[0], "image/png")
    assert edit is not None and edit.state == "Valid"
    assert edit.source_types == (TYPES["edit"],) and set(edit.ingredients) == {"the photograph", "region map"}
    painting = manifests.read(replace(painted(), ingredients=(drawn,)).encode(".png")[0], "image/png")
    assert painting is not None and painting.state == "Valid" and painting.ingredients == ("region map",)


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    file = painted().encode(".jpg", manifest=True)[0]
    changed = bytearray(file)
    changed[-400] ^= 1
    (tmp_path / "changed.jpg").write_bytes(changed)
    report = verify(tmp_path / "changed.jpg")
    assert report.manifest is not None and report.manifest.state == "Invalid" and not report.manifest.is_ours
    assert "does not hold" in report.sentences()["manifest"] and "hash" in str(report.manifest.faults).lower()


def test_a_removed_manifest_is_noticed(tmp_path: Path) -> None:
    file, recipe = painted().encode(".png", manifest=True)
    (tmp_path / "x.png").write_bytes(encode_with_recipe(read_picture(file), ".png", recipe))
    assert "it was removed" in verify(tmp_path / "x.png").sentences()["manifest"]


def test_verify_reports_it_as_json(tmp_path: Path, capsys) -> None:
    painted().save(tmp_path / "x.jpg", watermark=False)
    assert main(["verify", str(tmp_path / "x.jpg"), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["manifest"]["state"] == "Valid" and report["manifest"]["limner"] is True
    assert "trainedAlgorithmicMedia" in report["says"]["manifest"] and "not who signed" in report["says"]["manifest"]


def test_anothers_manifest_does_not_make_it_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "GENERATOR", "Another Painter")
    signed = manifests.sign(encode_png(photo()), "image/png", {"kind": "painting"}, keys.credentials())
    monkeypatch.undo()
    (tmp_path / "x.png").write_bytes(signed)
    report = verify(tmp_path / "x.png")
    assert report.manifest is not None and report.manifest.state == "Valid"
    assert not report.manifest.is_ours and not report.ours


def test_the_local_key_is_made_once_and_for_its_owner_only(limner_home: Path) -> None:
    first, second = keys.credentials(), keys.credentials()
    assert first == second and first.local
    (file,) = [path for path in limner_home.rglob("*") if path.is_file()]
    if os.name == "posix":
        assert file.stat().st_mode & 0o777 == 0o600
    from cryptography import x509

    leaf, root = x509.load_pem_x509_certificates(first.certificates)
    leaf.verify_directly_issued_by(root)
    now = datetime.datetime.now(datetime.timezone.utc)
    assert leaf.not_valid_before_utc < now < leaf.not_valid_after_utc


def own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The user's own certificate and key, as files that the environment names."""
    made = keys._make()
    key, mark, chain = made.partition(b"-----BEGIN CERTIFICATE-----")
    (folder / "chain.pem").write_bytes(mark + chain)
    (folder / "key.pem").write_bytes(key)
    monkeypatch.setenv(keys.CERTIFICATES, str(folder / "chain.pem"))
    monkeypatch.setenv(keys.KEY, str(folder / "key.pem"))
    return folder / "chain.pem", folder / "key.pem"


def test_the_users_own_key_signs(tmp_path: Path, limner_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = own(tmp_path, monkeypatch)
    found = keys.credentials()
    assert (found.certificates, found.key, found.local) == (chain.read_bytes(), key.read_bytes(), False)
    manifest = manifests.read(painted().encode(".png")[0], "image/png")
    assert manifest is not None and manifest.state == "Valid"
    assert not list(limner_home.iterdir())


def test_keys_that_do_not_serve_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, key = own(tmp_path, monkeypatch)
    monkeypatch.delenv(keys.KEY)
    with pytest.raises(InputError, match="belong together"):
        keys.credentials()
    monkeypatch.setenv(keys.KEY, str(tmp_path / "gone.pem"))
    with pytest.raises(InputError, match=r"gone.pem cannot be read"):
        keys.credentials()
    monkeypatch.setenv(keys.KEY, str(chain))
    with pytest.raises(InputError, match="no private key"):
        keys.credentials()
    key.write_bytes(keys._make().partition(b"-----BEGIN CERTIFICATE-----")[0])  # another's key
    monkeypatch.setenv(keys.KEY, str(key))
    with pytest.raises(InputError) as caught:
        painted().save(tmp_path / "x.png")
    assert "\n" not in str(caught.value) and not (tmp_path / "x.png").exists()


def test_formats_are_known_by_their_first_bytes() -> None:
    for suffix, mime in MIME.items():
        assert mime_of(painted().encode(suffix, manifest=False)[0]) == mime
    assert mime_of(b"GIF89a") is None


def test_small_pictures_can_be_signed_too(tmp_path: Path) -> None:
    small = replace(painted(), image=Image.new("RGB", (32, 32), "white"))
    small.save(tmp_path / "x.png")
    report = verify(tmp_path / "x.png")
    assert report.manifest is not None and report.manifest.is_ours and not report.watermark.found


def test_a_film_names_the_video_it_is_an_edit_of(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra 'video' is not installed")
    from limner.models.facex.video_writer import ingredient_of, sign_video, write_video

    recipe = {**painted(kind="edit").recipe, "manifest": True}
    for name, frame in (("holiday.mov", photo(64)), ("film.mp4", photo(64)[::-1])):
        write_video(tmp_path / name, [frame] * 3, 10.0, None, recipe)
    drawn = Ingredient("her.png", encode_png(photo(64)), "image/png")
    sign_video(tmp_path / "film.mp4", recipe, (drawn, ingredient_of(tmp_path / "holiday.mov", edited=True)))
    report = verify(tmp_path / "film.mp4")
    assert report.recipe == recipe and report.manifest is not None and report.manifest.is_ours
    assert set(report.manifest.ingredients) == {"holiday.mov", "her.png"}
    assert report.manifest.source_types == (TYPES["edit"],)
    import c2pa

    with c2pa.Reader("video/mp4", io.BytesIO((tmp_path / "film.mp4").read_bytes())) as reader:
        active = reader.get_active_manifest()
    named = [] if active is None else active["ingredients"]
    assert {one["title"]: one["relationship"] for one in named} == {"holiday.mov": "parentOf", "her.png": "inputTo"}
    file = bytearray((tmp_path / "film.mp4").read_bytes())
    file[file.index(b"mdat") + 64] ^= 1
    (tmp_path / "film.mp4").write_bytes(file)
    assert "does not hold" in verify(tmp_path / "film.mp4").sentences()["manifest"]
