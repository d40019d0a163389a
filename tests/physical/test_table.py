"""What the names of photographs tell."""

from __future__ import annotations

import pytest

from advrun.physical.table import by_name


@pytest.mark.parametrize(
    ("name", "distance", "angle"),
    [
        ("stop_5m_30deg.jpg", 5, 30),
        ("stop 10ft -15°.png", 3.048, -15),
        ("80cm.jpg", 0.8, None),
        ("2,5m_7.5deg.jpg", 2.5, 7.5),
        ("IMG_2024.jpg", None, None),
        ("5mm_3degrees.jpg", None, 3),
    ],
)
def test_distance_and_angle_are_read_from_names(name, distance, angle):
    known = by_name(name)
    assert known.distance == (None if distance is None else pytest.approx(distance))
    assert known.angle == angle
