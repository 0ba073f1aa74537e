"""Sets of faces at 256 px to measure on."""

from __future__ import annotations

import numpy as np

from limner.codecs.crops import SIZE
from limner.errors import InputError
from limner.faces.data_folders import picture_files
from limner.faces.picture import read_picture


def face_set(folder: str, last: int = 0, align: bool = False) -> np.ndarray:
    """Faces of a folder relative to LIMNER_DATA: uint8 (N, 256, 256, 3).

    last: only that many of its last pictures by name; 0 for all. align: find the largest face of each photo and cut
    it out aligned; photos without a face are left out. Without it, pictures must be 256 px squares already.
    Raises InputError for other sizes, and when nothing is left.
    """
    files = picture_files([folder])[-last:]
    if align:
        from limner.faces.geometry import align_ffhq, warp
        from limner.faces.reader import FaceReader

        reader = FaceReader.load()
        faces = []
        for file in files:
            photo = read_picture(file)
            found = reader.read(photo)
            if found:
                faces.append(warp(photo, align_ffhq(found[0].landmarks, SIZE), SIZE))
    else:
        faces = [read_picture(file) for file in files]
        for file, face in zip(files, faces, strict=True):
            if face.shape != (SIZE, SIZE, 3):
                raise InputError(f"{file} is {face.shape[1]}×{face.shape[0]}, not {SIZE}×{SIZE}: add --align")
    if not faces:
        raise InputError(f"no face was found in {folder}")
    return np.stack(faces)
