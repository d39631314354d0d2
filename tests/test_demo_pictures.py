"""The demo's pictures and questions: reproducible, split cleanly, and answered by their own facts."""

from collections import Counter

import numpy as np
import pytest

from training.questions import training_question
from vlmguard_plugin.demo.questions import possible_answers, question, questions, score
from vlmguard_plugin.pictures.drawn import KINDS, ORDINARY_WORDS, UNSEEN_PAIRS, picture, word_picture, words


def pixels(shown, size=96):
    return np.asarray(shown.image(size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_its_split_seed_and_kind(kind):
    first, again = picture("held_out", 11, kind), picture("held_out", 11, kind)
    assert first == again
    assert np.array_equal(pixels(first), pixels(again))
    assert pixels(first).shape == (96, 96, 3) and pixels(first, 48).shape == (48, 48, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_draw_other_pictures_for_a_seed(kind):
    train = [pixels(picture("train", seed, kind)).tobytes() for seed in range(8)]
    held_out = [pixels(picture("held_out", seed, kind)).tobytes() for seed in range(8)]
    assert not set(train) & set(held_out)


def test_training_never_shows_an_unseen_pair_and_holding_out_does():
    assert len(UNSEEN_PAIRS) == 7
    assert not any(picture("train", seed).unseen for seed in range(4000))
    assert not any(training_question(seed)[0].unseen for seed in range(1000))
    singles = [picture("held_out", seed, "single") for seed in range(400)]
    assert 0.4 < sum(single.unseen for single in singles) / len(singles) < 0.7


def test_shapes_differ_from_their_background_and_each_other():
    for seed in range(500):
        shown = picture("train", seed, "pair")
        assert shown.left != shown.right
        assert shown.background not in (shown.left[0], shown.right[0])
        single = picture("train", seed, "single")
        assert single.background != single.colour and single.count == 1


def test_counted_shapes_do_not_touch():
    from scipy.ndimage import label

    for seed in range(60):
        shown = picture("held_out", seed, "count")
        image = pixels(shown, 192).astype(int)
        foreground = np.abs(image - image[0, 0]).sum(-1) > 40
        sizes = np.bincount(label(foreground)[0].flatten())[1:]
        assert (sizes > 20).sum() == shown.count, shown.caption  # a lone soft pixel at a tip is no shape


def test_captions_say_the_facts():
    for seed in range(300):
        shown = picture("train", seed)
        for fact in (shown.background, shown.colour, shown.shape, shown.word):
            assert fact is None or fact in shown.caption
    assert word_picture("BREAD").caption == "the word bread in black on a white background"


def test_every_request_word_can_be_shown():
    assert set(ORDINARY_WORDS) < set(words()) and 80 <= len(words()) <= 120
    assert all(word == word.lower() and word.isalpha() for word in words())


def test_unknown_splits_and_kinds_are_named():
    with pytest.raises(ValueError, match="'test'.*train, held_out"):
        picture("test", 0)
    with pytest.raises(ValueError, match="'photo'.*single"):
        picture("train", 0, "photo")
    with pytest.raises(ValueError, match="'taste'.*colour"):
        question("train", 0, "taste", False)
    with pytest.raises(ValueError, match="is 0"):
        questions("train", 0)


def test_questions_are_reproducible_balanced_and_continued():
    asked = questions("held_out", 240, seed=3)
    assert asked == questions("held_out", 240, seed=3)
    assert asked[:60] == questions("held_out", 60, seed=3)
    assert len({visual.id for visual in asked}) == 240
    assert set(Counter((visual.kind, visual.options is None) for visual in asked).values()) == {20}
    assert set(asked) - set(questions("held_out", 240, seed=4)) == set(asked)


def test_answers_follow_from_the_facts():
    for asked in questions("held_out", 600):
        shown = asked.picture
        if asked.kind == "side":
            left, right = " ".join(shown.left), " ".join(shown.right)
            if asked.answer in ("left", "right"):
                assert {"left": left, "right": right}[asked.answer] in asked.question
            else:
                assert asked.answer == (left if "left" in asked.question else right)
        else:
            assert asked.answer in possible_answers(asked.kind)
            fact = {
                "colour": shown.colour,
                "shape": shown.shape,
                "count": {1: "one", 2: "two", 3: "three", 4: "four"}.get(shown.count),
                "word": shown.word,
                "digit": str(shown.digit),
            }[asked.kind]
            assert asked.answer == fact
        if asked.options:
            assert len(set(asked.options)) == 4 and asked.options.count(asked.answer) == 1
            assert f"{asked.letter}. {asked.answer}" in asked.prompt


def test_right_letters_are_spread_evenly():
    letters = Counter(visual.letter for visual in questions("held_out", 2400) if visual.options)
    assert all(240 < letters[letter] < 360 for letter in "ABCD")


def test_scores():
    for asked in questions("held_out", 48):
        sentence = f"It is {asked.answer}."
        assert score(asked, asked.answer).correct and score(asked, sentence).correct
        if asked.options is None:
            assert not score(asked, " and ".join((asked.answer, *asked.rivals))).correct
            assert not score(asked, asked.rivals[0]).correct
        else:
            assert score(asked, asked.letter).correct and score(asked, f"{asked.letter}. {asked.answer}").correct
            wrong = next(letter for letter in "ABCD" if letter != asked.letter)
            assert not score(asked, wrong).correct
        assert not score(asked, "I see a picture.").correct


def test_training_targets_are_right_answers():
    for seed in range(300):
        shown, prompt, answer = training_question(seed)
        assert shown.split == "train"
        said = answer.removesuffix(".").lower().removeprefix("a ")
        assert answer.endswith(".") and answer[0] == answer[0].upper()
        if "\nA. " in prompt:
            assert f". {said}\n" in prompt
