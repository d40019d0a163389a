"""What detectors see: marks beside doubtful numbers, and of which images the share that is rejected is."""

from __future__ import annotations

from advrun.flags import UNMOVED, mark
from advrun.report.detection import files, lines, sentences
from advrun.report.summary import summarise
from tests._rows import result

SEEN = {"network_fooled": 4, "rejected_share": 0.5}
RESULTS = [
    result("clean", "1" * 9 + "0", threat="none", eps=None, norm="", metrics={"false_positive_share": 0.1}),
    result("pgd", "1110", threat="static", metrics={**SEEN, "false_positive_share": 0.25, "detected_share": 0.75}),
    result("pgd", "1000", metrics={**SEEN, "false_positive_share": 0.25, "detected_share": 0.0}, flags=(UNMOVED,)),
]


def test_a_doubtful_number_is_marked_and_false_positives_are_of_all_clean_images():
    summary = summarise(RESULTS)
    (paragraph,) = sentences(summary)
    assert paragraph[0].endswith(f"right or rejected are 75.0 % and 25.0 % {mark(UNMOVED)}.")
    assert paragraph[-1] == "It rejects 10.0 % of the 10 clean test images."
    header, static, adaptive = lines(summary)
    place = header.index("accuracy with detection, %")
    assert (static[place], adaptive[place]) == ("75.0", f"25.0 {mark(UNMOVED)}")
    assert files(summary, "toy")["detection.csv"].splitlines()[-1].endswith(f",{mark(UNMOVED)}")
