from __future__ import annotations

import numpy as np
import pytest

from limner.faces.detect import Detection, merge
from limner.faces.landmarks import SURE, roll_of

CENTRE = np.array([225.0, 125.0])  # of the astronaut's face


def centre_of(detection: Detection) -> np.ndarray:
    return (detection.box[:2] + detection.box[2:]) / 2


def found_at(detections: list[Detection], x: float, y: float, within: float) -> bool:
    return any(np.abs(centre_of(each) - [x, y]).max() < within for each in detections)


def test_the_face_and_its_points(detector, astronaut):
    best = detector.detect(astronaut)[0]
    assert np.abs(centre_of(best) - CENTRE).max() < 12 and best.score > 0.8
    right_eye, left_eye, nose, mouth, right_ear, left_ear = best.points
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1]


@pytest.mark.parametrize(
    ("height", "width", "face"), [(600, 800, 40), (1500, 2000, 40), (1500, 2000, 90), (700, 900, 250)]
)
def test_sizes_from_forty_pixels_up(detector, place, height, width, face):
    x, y = int(width * 0.7), int(height * 0.6)
    assert found_at(detector.detect(place(height, width, (x, y, face, 0))), x, y, face * 0.4)


def test_a_face_that_fills_sixty_percent_of_the_frame(detector, astronaut):
    close = astronaut[45:205, 145:305]  # 95 of 160 pixels
    assert found_at(detector.detect(close), 80, 80, 20)


def test_a_photo_that_is_nothing_but_face(detector, astronaut):
    assert found_at(detector.detect(np.ascontiguousarray(astronaut[75:180, 178:274])), 48, 52, 20)


@pytest.mark.parametrize("angle", [-45, 30, 90, 180, 270])
def test_turned_faces(detector, mesh_network, place, angle):
    photo = place(480, 640, (300, 240, 95, angle))
    best = detector.detect(photo)[0]
    assert np.abs(centre_of(best) - [300, 240]).max() < 40
    mesh = mesh_network.find(photo, best.box, best.angle)
    turned = (roll_of(mesh.points) + angle - 3 + 180) % 360 - 180  # PIL turns counterclockwise; she leans by 3 degrees
    assert mesh.logit > SURE and abs(turned) < 10


def test_several_faces_at_once(detector, place):
    spots = [(150, 150, 95, 0), (430, 160, 60, 20), (700, 150, 45, 0), (200, 430, 80, -25), (560, 430, 120, 0)]
    detections = detector.detect(place(600, 850, *spots))
    assert all(found_at(detections, x, y, face * 0.5) for x, y, face, _ in spots)


def test_a_turned_face_beside_an_upright_one(detector, place):
    detections = detector.detect(place(400, 800, (200, 200, 95, 0), (600, 200, 95, 180)))
    assert found_at(detections, 200, 200, 40) and found_at(detections, 600, 200, 40)


def test_no_face(detector, mesh_network):
    rng = np.random.default_rng(0)
    scenes = [np.full((300, 400, 3), 128, np.uint8), rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)]
    for photo in scenes:
        for each in detector.detect(photo):
            assert mesh_network.find(photo, each.box, each.angle).score < 0.5


def test_stricter_score_finds_no_more(detector, place):
    photo = place(600, 850, (150, 150, 95, 0), (430, 160, 45, 20))
    scores = [each.score for each in detector.detect(photo, 0.3)]
    strict = detector.detect(photo, 0.9)
    assert len(strict) <= len(scores) and all(each.score >= 0.9 for each in strict)
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("score", [-1, 0, 0.05, 1.5])
def test_impossible_scores_are_refused(detector, astronaut, score):
    with pytest.raises(ValueError, match="min_score"):
        detector.detect(astronaut, score)


def test_merging_blends_the_same_and_keeps_the_different():
    def at(x: float, score: float, size: float = 10) -> Detection:
        return Detection(box=np.array([x, 0, x + size, size]), score=score, points=np.full((6, 2), x))

    faces = merge([at(0, 0.9), at(1, 0.6), at(50, 0.7), at(52, 0.5, size=4)])
    assert [round(each.score, 1) for each in faces] == [0.9, 0.7]
    assert faces[0].box[0] == pytest.approx(0.4) and faces[0].points[0, 0] == pytest.approx(0.4)
