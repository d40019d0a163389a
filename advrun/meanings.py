"""The flags: what each means, from where on it is raised, who says so, and what to do about it.

A flag is its name, and behind a colon what it is about: `static-wins`, `attacks-missing: pgd`. When one is raised is in `flags.py`, and in
`evidence.py` for those that a metric looked for.
"""

from __future__ import annotations

from dataclasses import dataclass

ZERO_GRADIENTS, STATIC_WINS, MORE_EPS_HELPS, FEWER_STEPS_WIN = "zero-gradients", "static-wins", "more-eps-helps", "fewer-steps-win"
BLACK_BOX_WINS, UNBROKEN, UNMOVED, GUESSES = "black-box-wins", "unbroken", "unmoved", "guesses"
DRIFTED = "drifted"
CONTRADICTED, NO_SLOPE = "contradiction", "no-slope"
PROBABILITIES, SATURATED, RANDOMISED, UNREPRODUCED = "probabilities", "saturated", "randomised", "clean-not-reproduced"
NOISE_WINS, UNCONVERGED, SILENT = "noise-wins", "not-converged", "silent-success"
TRANSFER_WINS, UNBOUNDED, UNPROVEN = "transfer-wins", "unbounded-fails", "too-weak"
ATTACKS_MISSING, SEEDS_MISSING = "attacks-missing", "seeds-missing"


@dataclass(frozen=True)
class Meaning:
    """What a flag says: what was seen, why that makes the accuracy doubtful, what to do next.

    mark: its footnote mark everywhere. limit: from where on it is raised. paper: who says that it is a reason to doubt.
    """

    mark: str
    seen: str
    why: str
    remedy: str
    limit: str = ""
    paper: str = ""


MEANINGS = {
    ZERO_GRADIENTS: Meaning(
        "†",
        "The loss gradient of some images is zero, or not a number.",
        "A gradient attack is blind there, so that images stay right without being robust.",
        "Run square, or give what blocks the gradient (a purifier that rounds, for example) a straight-through gradient.",
        "More than 0.5 % of up to 512 attacked images.",
        "Athalye et al. 2018, arXiv:1802.00420",
    ),
    STATIC_WINS: Meaning(
        "‡",
        "Replayed examples of the undefended model fool this system clearly more often than those that the same attack crafts for it.",
        "An attack that knows the system should do no worse: its gradients mislead, and the accuracy is too high.",
        "Run square, or give the purifier a straight-through gradient.",
        "By more than 0.5 points of the common images, and by more than chance.",
        "Tramèr et al. 2020, arXiv:2002.08347",
    ),
    MORE_EPS_HELPS: Meaning(
        "§",
        "The same attack leaves clearly fewer images right at a smaller ε.",
        "A ball holds all of the smaller ones, so the attack fails at this ε.",
        "Run pgd or autoattack at this ε, with more steps and restarts.",
        "By more than 0.5 points, and by more than chance.",
        "Athalye et al. 2018, arXiv:1802.00420",
    ),
    FEWER_STEPS_WIN: Meaning(
        "¶",
        "An attack with less than half as many gradients leaves clearly fewer images right at the same ε.",
        "This one did not converge, or the gradients mislead it.",
        "Run it with more steps, together longer than 2 ε, and more restarts; and square, which needs no gradient.",
        "By more than 0.5 points, and by more than chance.",
        "Athalye et al. 2018, arXiv:1802.00420",
    ),
    BLACK_BOX_WINS: Meaning(
        "‖",
        "An attack that uses no gradient of the system leaves clearly fewer images right than this one, which follows its gradients.",
        "The gradients mislead, and an attack with better ones may leave fewer still.",
        "Give the purifier a straight-through gradient, and run square with more queries.",
        "By more than 0.2 points of the common images, and by more than chance.",
        "Athalye et al. 2018, arXiv:1802.00420; Croce and Hein 2020, arXiv:2003.01690",
    ),
    UNBROKEN: Meaning(
        "◊",
        "An attack that may go as far as it needs left clearly more than 2 % right.",
        "Every image can be made wrong from far enough: the attack failed, or stopped too early.",
        "Run it with more steps, and another attack of the same norm beside it.",
        "More than 2 % of the images, and more than chance.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    UNMOVED: Meaning(
        "★",
        "An attack within a ball gave clearly more than 2 % of the images back as they were, still right.",
        "It did nothing there, so that these images were not attacked.",
        "Run square, or give the purifier a straight-through gradient.",
        "More than 2 % of the images, and more than chance.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    GUESSES: Meaning(
        "♯",
        "Hardly more clean images are right than by naming the commonest class.",
        "What is right by chance says nothing of robustness.",
        "For a model that came trained, run advrun check, which compares other ways to read the images; one that was trained here needs "
        "more epochs, or another learning rate.",
        "Less than a tenth of the way from the commonest class to being always right.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    DRIFTED: Meaning(
        "◇",
        "Asked about the same clean images again after the attack, the service answered otherwise.",
        "It changed in between, or answers at random: images may be wrong without any attack, and counts mean less.",
        "Run the experiment again in another results folder, where nothing is remembered; attack fewer images at once.",
        "Any of 16 clean images.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    PROBABILITIES: Meaning(
        "∝",
        "The scores of every image are at least 0 and add up to the same number, as probabilities do.",
        "Losses of logits are squashed once more, so that their gradients are small and much alike.",
        "Give the model as it is before its softmax; of a service, say meaning: probabilities.",
        "Sums equal to 0.01 %, over all clean images.",
        "Croce and Hein 2020, arXiv:2003.01690",
    ),
    SATURATED: Meaning(
        "⊤",
        "The model is so sure of most clean images that float32 knows no cross-entropy, and no gradient of it.",
        "An attack that climbs the cross-entropy is blind there, as it was before defensive distillation.",
        "Run cw, or apgd with its loss dlr, whose gradients do not depend on the scale of the logits.",
        "Log-odds above 87 on at least half of the clean images.",
        "Carlini and Wagner 2017, arXiv:1608.04644",
    ),
    RANDOMISED: Meaning(
        "♮",
        "Asked twice about the same images, the system answers differently.",
        "One gradient is one draw: an attack climbs another function than the one that is measured, and counts vary from run to run.",
        "Give the noise as a stage that draws from its rng, so that gradients are means over draws, or leave it out.",
        "Logits that differ by more than 0.1 % of their range, on any of 64 clean images.",
        "Athalye et al. 2018, arXiv:1802.00420",
    ),
    NOISE_WINS: Meaning(
        "♭",
        "Random noise of the same size fools images that this attack, which follows gradients, left right.",
        "Whoever tries at random finds what the attack missed: its gradients mislead, or it stops too early.",
        "Run square, or give what blocks the gradient (a purifier that rounds, for example) a straight-through gradient.",
        "20 draws for each of up to 32 survivors: clearly more than 2 % of them.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    UNCONVERGED: Meaning(
        "∂",
        "With twice as many steps, the same attack fools many of the images that it left right.",
        "It was still on its way when it ended.",
        "Run it with more steps, until more of them change nothing.",
        "Up to 32 survivors: clearly more than 5 % of them.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    SILENT: Meaning(
        "∅",
        "The attack had an image within the ball that the system got wrong, and returned another one that it gets right.",
        "It found what it was looking for, and lost it.",
        "Run pgd, which keeps the best image of all steps, or mend the attack so that it does.",
        "Clearly more than 2 % of up to 32 images.",
        "Carlini et al. 2019, arXiv:1902.06705; Zimmermann et al. 2022, arXiv:2206.13991",
    ),
    UNBOUNDED: Meaning(
        "⊥",
        "The same attack, allowed to change every pixel as it likes, still leaves images right.",
        "Any image can become one of another class: what fails here without a bound fails within one too.",
        "Run square, or give what blocks the gradient (a purifier that rounds, for example) a straight-through gradient.",
        "Up to 32 images: clearly more than 2 % of them.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    TRANSFER_WINS: Meaning(
        "⊗",
        "Examples of another model fool this system clearly more often than those that the same attack crafts for it.",
        "An attack that knows the system should do no worse: its gradients mislead, and the accuracy is too high.",
        "Run square, or give the purifier a straight-through gradient.",
        "By more than 0.5 points of the common images, and by more than chance.",
        "Papernot et al. 2017, arXiv:1602.02697; Athalye et al. 2018, arXiv:1802.00420",
    ),
    UNPROVEN: Meaning(
        "∄",
        "advrun prove planted an example near every image, and this attack missed more than 5 % of them.",
        "What does not find examples that are there says nothing of a system in which it finds none.",
        "Run it with more steps or better gradients (square needs none), until advrun prove sees it find them.",
        "Less than 95 % of those that random search does not find, on 144 images.",
        "Zimmermann et al. 2022, arXiv:2206.13991",
    ),
    UNREPRODUCED: Meaning(
        "≠",
        "Clearly fewer clean images are right than of the validation images when the system was trained.",
        "What is measured may not be what was trained, or not on such images.",
        "Run advrun check, look at the training curves, and compare how training and test images were made.",
        "By more than 15 points, and by more than chance.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    NO_SLOPE: Meaning(
        "∇",
        "The gradients that an estimate of the distance is made of are all zero around some images.",
        "Such an image is said to be as far from every example as the estimate can say, and may be right beside one.",
        "Give what blocks the gradient (a purifier that rounds, for example) a straight-through gradient, and look at what attacks left.",
        "More than 0.5 % of the images that it was given.",
        "Goodfellow 2018, arXiv:1804.07870",
    ),
    CONTRADICTED: Meaning(
        "‼",
        "ERROR: an example of this attack lies within the radius that {detail} has certified for its image.",
        "One of the two is wrong: the bound, the attack, or how its examples were measured.",
        "Run both again on the image that tables/bounds.md names; trust neither number until it is explained, and tell the bound's author.",
        "Any image.",
        "Cohen et al. 2019, arXiv:1902.02918",
    ),
    ATTACKS_MISSING: Meaning(
        "△",
        "This worst case lacks {detail}, which other systems met.",
        "With it, fewer images may be right.",
        "Run the experiment again: what failed is tried again, what is done is kept.",
        "Any attack of the same norm and ε.",
        "Carlini et al. 2019, arXiv:1902.06705",
    ),
    SEEDS_MISSING: Meaning(
        "○",
        "Only {detail} seeds were measured.",
        "The others may differ.",
        "Run the experiment again: what failed is tried again, what is done is kept.",
        "Any seed.",
        "",
    ),
}
"""In the order in which they are told. A mark belongs to its flag: in every table, figure and report it is the same."""
WEAKNESSES = frozenset({UNCONVERGED, UNPROVEN})
"""Said of an attack, not of its system: beside one that is strong enough they mean nothing to the worst case."""
OTHER = Meaning("*", "Not a flag that this version knows.", "", "")
