"""Two labellings compared: by scikit-learn where it has the number, else by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics

from toolkit.agreement import Agreement, Disagreement, Labelled, Names, compare
from toolkit.errors import AnnotationError, InputError

NAMES = ("drink", "eat", "rest", "walk")
FPS = 10.0


def side(text: str, source: str, fps: float = FPS, complete: bool = True) -> Labelled:
    """Return a labelling of a letter per frame, ``d e r w`` and ``.`` for none."""
    labels = np.array(["derw".find(letter) for letter in text], dtype=np.int16)
    return Labelled(source, labels, NAMES, fps, complete)


def compared(a: str, b: str, **options: object) -> Agreement:
    return compare(side(a, "A"), side(b, "B"), **options)  # type: ignore[arg-type]


def random_side(seed: int, source: str, frames: int = 4000) -> Labelled:
    rng = np.random.default_rng(seed)
    bouts = [np.full(rng.integers(1, 40), rng.integers(-1, 4)) for _ in range(frames)]
    return Labelled(source, np.concatenate(bouts)[:frames].astype(np.int16), NAMES, FPS, complete=True)


@pytest.mark.parametrize("seed", range(5))
def test_frames_agree_with_scikit_learn(seed: int) -> None:
    a = random_side(seed, "A")
    rng = np.random.default_rng(seed + 100)
    b = Labelled("B", np.where(rng.random(4000) < 0.7, a.labels, random_side(seed + 50, "").labels), NAMES, FPS)
    found = compare(a, b)
    both = (a.labels >= 0) & (b.labels >= 0)
    mine, theirs = a.labels[both], b.labels[both]
    assert found.whole.confusion.tolist() == metrics.confusion_matrix(mine, theirs, labels=range(4)).tolist()
    assert found.whole.accuracy == pytest.approx(metrics.accuracy_score(mine, theirs))
    assert found.whole.kappa == pytest.approx(metrics.cohen_kappa_score(mine, theirs))
    np.testing.assert_allclose(found.whole.f1, metrics.f1_score(mine, theirs, average=None))
    assert (found.whole.frames, found.only_a, found.only_b, found.neither) == (
        both.sum(),
        ((a.labels >= 0) & (b.labels < 0)).sum(),
        ((a.labels < 0) & (b.labels >= 0)).sum(),
        ((a.labels < 0) & (b.labels < 0)).sum(),
    )
    assert sum((d.stop_frame - d.start_frame) for d in found.disagreements) == (mine != theirs).sum()


def test_f1_is_the_same_from_both_sides_and_undefined_only_where_neither_has_it() -> None:
    a, b = "rrrrwwww..", "rrreeeww.."
    found, turned = compared(a, b), compared(b, a)
    np.testing.assert_array_equal(found.whole.f1, turned.whole.f1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = metrics.f1_score(list("rrrrwwww"), list("rrreeeww"), average=None, labels=["e", "r", "w"])
    np.testing.assert_allclose(found.whole.f1[1:], expected)
    assert math.isnan(found.whole.f1[0])


def test_bouts_by_hand() -> None:
    #        0         1         2
    #        012345678901234567890123456789
    a = "rrrrrrrrrrwwwwwwwwwwrrrrrrrrrr"
    b = "rrrrrrrrrrrrwwwwwwwweerrrrrrrr"
    found = compared(a, b, thresholds=(0.5, 0.8, 0.9))
    # rest: 10 / 12 and 8 / 10; walk: 8 / 10. eat is B's alone.
    assert found.bouts.matched.T.tolist() == [[0, 0, 0], [0, 0, 0], [2, 2, 0], [1, 1, 0]]
    assert found.bout_f1[1].tolist()[1:] == [0.0, 1.0, 1.0]
    assert math.isnan(found.bout_f1[1][0])
    assert found.bouts.pooled_f1.tolist() == pytest.approx([6 / 7, 6 / 7, 0])


def test_boundaries_by_hand_leave_out_the_ends_of_what_both_label() -> None:
    #    0         1         2
    a = "rrrrrrrrrrwwwwwwwwwwrrrrrrrrrr..."
    b = "rrrrrrrrrrrrwwwwwwwwwrrrrrrrrrrrr"
    found = compared(a, b)
    # Frames last 100 ms. walk starts 2 frames later in B and stops 1 later; the first rest's start and the last one's
    # stop are no change of behaviour.
    assert found.onsets["walk"].errors_ms == (200.0,)
    assert found.offsets["walk"].errors_ms == (100.0,)
    assert found.onsets["rest"].errors_ms == (100.0,)
    assert found.offsets["rest"].errors_ms == (200.0,)
    assert found.onsets["walk"].mean_ms == found.onsets["walk"].median_ms == 200.0
    assert math.isnan(found.onsets["walk"].sd_ms)
    assert compared(a, b, boundary_iou=0.9).onsets["walk"].errors_ms == ()


def test_boundary_errors_are_signed_and_summarised() -> None:
    a = "rrrrrwwwwwrrrrrwwwwwrrrrrwwwwwrrrrr"
    b = "rrrrwwwwwwrrrrrrwwwwrrrrrrrwwwwrrrr"[: len(a)]
    onset = compared(a, b).onsets["walk"]
    assert sorted(onset.errors_ms) == [-100.0, 100.0, 200.0]
    assert onset.mean_ms == pytest.approx(200 / 3)
    assert onset.median_ms == 100.0
    assert onset.sd_ms == pytest.approx(np.std([-100, 100, 200], ddof=1))


def test_time_budgets_are_of_the_frames_that_both_label() -> None:
    found = compared("rrrrwwww....ee", "rrwwwwwwee....")
    assert found.budgets_s[:, 2].tolist() == pytest.approx([0.4, 0.2])
    assert found.budgets_s[:, 3].tolist() == pytest.approx([0.4, 0.6])
    assert found.budgets_s[:, 1].tolist() == [0, 0]


def test_disagreements_are_whole_stretches_longest_first() -> None:
    found = compared("rrrrrrrrwwwwww.www", "rrwwwwrreeddddwwww")
    assert found.disagreements == (
        Disagreement(2, 6, "rest", "walk"),
        Disagreement(10, 14, "walk", "drink"),
        Disagreement(8, 10, "walk", "eat"),
    )


def test_a_collar_forgives_what_is_near_a_boundary_of_a_and_nothing_else() -> None:
    #    0         1         2
    a = "rrrrrrrrrrwwwwwwwwwwrrrrrrrrrr"
    b = "rrrerrrrrrrwwwwwwwwwwrrrrrrrrr"
    found = compared(a, b, collar_s=0.2)
    assert found.whole.accuracy == pytest.approx(27 / 30)
    assert found.collared is not None
    # Two frames each side of 10 and of 20 are left out; the stray frame of B at 3 is not.
    assert found.collared.frames == 22
    assert found.collared.accuracy == pytest.approx(21 / 22)
    assert compared(a, b).collared is None


def test_names_that_differ_are_mapped_or_refused() -> None:
    a = Labelled("A", np.array([0, 1, 1, 2]), ("sleep", "run", "sniff"), FPS)
    b = side("rwwe", "B")
    with pytest.raises(AnnotationError, match=r"A: 'sleep' is not one of drink, eat, rest, walk.*--map sleep="):
        compare(a, b)
    renames = {"sleep": "rest", "run": "walk", "sniff": ""}
    found = compare(a, b, names=Names(renames=renames))
    assert (found.whole.frames, found.whole.accuracy, found.only_b) == (3, 1.0, 1)


def test_an_ethogram_that_is_given_decides_what_is_known_and_the_order() -> None:
    found = compare(side("rw", "A"), side("ww", "B"), names=Names(("walk", "rest")))
    assert (found.behaviours, found.whole.confusion.tolist()) == (("walk", "rest"), [[1, 0], [1, 0]])
    with pytest.raises(AnnotationError, match="'rest' is not one of walk"):
        compare(side("rw", "A"), side("ww", "B"), names=Names(("walk",)))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("rrrr", "rrrrr", "A is of 4 frames, B of 5.*--tolerance-frames 1"),
        ("rr..", "..rr", "label no frame in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: str, b: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compared(a, b)


def test_another_rate_is_refused_and_a_tolerated_length_is_said() -> None:
    with pytest.raises(InputError, match=r"A is at 29.97 frames per second, B at 30"):
        compare(side("rr", "A", fps=29.97), side("rr", "B", fps=30.0))
    found = compared("rrrr", "rrrrrw", tolerance_frames=2)
    assert found.whole.frames == 4
    assert "the last 2 left out" in found.notes[-1]
