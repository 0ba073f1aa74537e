"""Print the ranges of `limner.faces.expression`: what neutral faces stay below, and the strongest that was seen.

    python tools/convert/faces_expression.py FOLDER…

FOLDERs hold portraits (ours: 1,000 synthetic faces, 753 photographs, 1,701 generated and 819 official portraits). Only
frontal faces count (yaw and pitch within 15 degrees). Low is the 90th percentile of the faces that the emotion
network calls neutral, high the 99.5th of all; the eyes' direction has its own scale, 0 to 30 degrees.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from limner.faces import geometry
from limner.faces.detect import FaceDetector
from limner.faces.emotion import EmotionNet
from limner.faces.expression import raw_measures
from limner.faces.landmarks import SURE, IrisNetwork, MeshNetwork
from limner.faces.motion import gaze_direction, head_pose
from limner.faces.picture import PictureError, read_picture
from limner.faces.topology import Topology

FRONTAL = 15.0  # degrees
FULL_LOOK = 30.0  # degrees


def main(folders: list[str]) -> None:
    topology, detector, meshes, irises = Topology.load(), FaceDetector.load(), MeshNetwork.load(), IrisNetwork.load()
    emotions = EmotionNet.load()
    sided: list[dict[str, float]] = []
    central: list[dict[str, float]] = []
    neutral: list[bool] = []
    for path in (path for folder in folders for path in sorted(Path(folder).iterdir())):
        try:
            photo = read_picture(path)
        except PictureError:
            continue
        for detection in detector.detect(photo)[:1]:
            mesh = meshes.find(photo, detection.box, detection.angle)
            pose = head_pose(mesh.points, topology)
            if mesh.logit < SURE or max(abs(pose.yaw), abs(pose.pitch)) > FRONTAL:
                continue
            gaze = gaze_direction(mesh.points, irises.find(photo, mesh.points), pose)
            left, right, middle = raw_measures(mesh.points, pose, gaze, topology)
            sided += [left, right]
            central.append(middle)
            crop = geometry.warp(photo, geometry.align_ffhq(mesh.points), 256, border="edge")
            with torch.inference_mode():
                picture = torch.from_numpy(crop)[None].permute(0, 3, 1, 2).float() / 127.5 - 1
                neutral.append(bool(emotions(picture)[0, 0] > 0.7))
    calm = np.array(neutral)
    print(f"# {len(calm)} frontal faces, {calm.sum()} of them neutral")
    for title, rows, quiet in (("SIDED", sided, np.repeat(calm, 2)), ("CENTRAL", central, calm)):
        print(f"{title}_RANGES: dict[str, tuple[float, float]] = {{")
        for name in rows[0]:
            values = np.array([row[name] for row in rows])
            low, high = np.quantile(values[quiet], 0.75), np.quantile(values, 0.998)
            if name.startswith("eye_look"):
                low, high = 0.0, FULL_LOOK
            print(f'    "{name}": ({low:.3f}, {high:.3f}),')
        print("}")


if __name__ == "__main__":
    main(sys.argv[1:])
