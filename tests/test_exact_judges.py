"""Exact judging of choices and short answers."""

import pytest

from vlmguard_plugin.judges import exact

OPTIONS = {"A": "red", "B": "dark blue", "C": "blue", "D": "A man on a horse"}


@pytest.mark.parametrize(
    "answer, letter",
    [
        ("B", "B"), ("b.", "B"), ("(B)", "B"), ("**B**", "B"), ("B. dark blue", "B"), ("Answer: B", "B"),
        ("The answer is B.", "B"), ("The answer is (B) dark blue", "B"), ("The correct answer is: C", "C"),
        ("It is dark blue.", "B"), ("It is blue.", "C"), ("It is red or blue.", None),
        ("It is not red, it is blue.", "C"),
        ("A man on a horse.", "D"), ("I would pick option C here", "C"), ("A picture of a dog", None), ("E", None),
        (r"So it is \boxed{B}", "B"), (r"\boxed{A} is wrong, hence $\boxed{\text{B}}$.", "B"), (r"\boxed{(C)}", "C"),
        (r"\boxed{Banana}", None), ("The correct option is B", "B"),
        ("A is wrong. C is wrong. So B.", "B"), ("The best option would be C.", "C"),
        ('{"answer": "B"}', "B"), ("{'answer':'C', 'why': 'A is red'}", "C"), ("**Answer**: B", "B"),
        ("(B) dark blue because A is red", "B"), ("B) dark blue, as red is a warm colour", "B"),
        ("Dark blue. Red would be warmer.", "B"), ("Blue: not red, and lighter than dark blue.", "C"),
        ("Red or blue.", None), ("Red and dark blue are both there.", None), ("The right letter is D.", "D"),
        ("A: no. B: yes.", "B"), ("A: no\nB: no\nC: yes\nD: no", "C"), ("(A) wrong (B) right", "B"),
        ('{"A": false, "B": true}', "B"), ("A is false, C is true", "C"), ("A: no. B: no.", None),
        ("A: wrong. B: wrong. The answer is C.", "C"), ("A is wrong, C is wrong, so dark blue.", "B"),
        ("A: yes. B: yes.", None), ("A right turn, a right angle", None), ("A is incorrect; the answer is D", "D"),
        ('{"answer": {"letter": "B"}}', "B"), ('{"final_answer": "C"}', "C"), ('{"answer": "(D)"}', "D"),
        ("{'selected_option': 'B'}", "B"), ('{"answer": "Apple"}', None),
        ("", None), ("Perhaps (A) or (B)", None), ("The answer is a bit unclear", None),
    ],
)  # fmt: skip
def test_chosen_letter(answer, letter):
    assert exact.chosen_letter(answer, OPTIONS) == letter


def test_options_that_are_verdicts_themselves():
    assert exact.chosen_letter("A: yes\nB: no", {"A": "yes", "B": "no"}) is None  # the options, said once more
    assert exact.chosen_letter("A: yes\nB: no\nB", {"A": "yes", "B": "no"}) == "B"
    assert exact.chosen_letter("B: no", {"A": "yes", "B": "no"}) == "B"


def test_choice_scores():
    assert exact.judge_choice("B", "B", OPTIONS) == exact.Score(True, "parsed", "B")
    assert exact.judge_choice("C", "B", OPTIONS) == exact.Score(False, "parsed", "C")
    assert exact.judge_choice("no idea", "B", OPTIONS) == exact.Score(False, "unparsed")
    assert exact.judge_choice(None, "B", OPTIONS).status == "unknown"
    with pytest.raises(ValueError, match="'E' is not among the options A, B, C, D"):
        exact.judge_choice("B", "E", OPTIONS)


@pytest.mark.parametrize(
    "answer, expected, rivals, correct",
    [
        ("Red.", "red", ["blue"], True),
        ("The circle is red.", "red", ["blue"], True),
        ("red, blue or green", "red", ["blue", "green"], False),
        ("It is not red.", "red", [], False),
        ("There are three circles.", "3", ["1", "2", "4"], True),
        ("3", "three", [], True),
        ("13", "3", [], False),
        ("reddish", "red", [], False),
        ("It is light blue.", "light blue", ["blue"], True),
        ("It is light blue.", "blue", ["light blue"], False),
        ("a red circle on the white background", "a red circle on a white background", [], True),
        ("Yes, it is.", "yes", [], True),
        ("No, yes is wrong.", "yes", [], False),
        ("A", "a", [], True),
    ],
)
def test_open_answers(answer, expected, rivals, correct):
    assert exact.judge_open(answer, expected, rivals).correct is correct


def test_open_answers_that_can_not_be_judged():
    assert exact.judge_open(None, "red").status == "unknown"
    assert exact.judge_open("...", "red").status == "unparsed"
    with pytest.raises(ValueError, match="expected answer is '\\?'"):
        exact.judge_open("red", "?")
    assert exact.rivals_by_category(["c", "c", "n"], ["red", "blue", "3"]) == {"c": {"red", "blue"}, "n": {"3"}}


@pytest.mark.parametrize(
    "answer, letter",
    [
        ("I'd go with B", "B"),
        ("The best answer is B because C is wrong", "B"),
        ("The answer is A because it is red", "A"),
        ("A man stands there", None),
        ("It may be A or B", None),
        ("B stands at the beginning of a longer sentence about it", None),
    ],
)
def test_a_letter_in_a_sentence(answer, letter):
    assert exact.chosen_letter(answer, {"A": "crimson", "B": "azure", "C": "lime"}) == letter


@pytest.mark.parametrize(
    "answer",
    [
        "Ans: B",
        "I would choose B.",
        "I'd go with B.",
        "Therefore, B.",
        "It must be B",
        "Correct: B",
        "the answer is b",
        "option b",
        "B is the correct answer.",
        "A is wrong, C is wrong. B is correct.",
        "B because it barks",
        "B\n\nExplanation: cats are smaller.",
        "B<|im_end|>",
        "<|begin_of_box|>B<|end_of_box|>",
        "<CONCLUSION>B</CONCLUSION>",
        "\u7b54\u6848\u662fB",
        "\u6545\u9009B\u3002",
        "\u6b63\u89e3\u306fB\u3067\u3059",
        "\uc815\ub2f5\uc740 B\uc785\ub2c8\ub2e4",
        "Die richtige Antwort ist B.",
        "La bonne r\u00e9ponse est B",
        "La respuesta correcta es B.",
        "La risposta \u00e8 B",
        "A resposta \u00e9 B",
        "\u041e\u0442\u0432\u0435\u0442: B",
        "\u0627\u0644\u0625\u062c\u0627\u0628\u0629: B",
        "\u0909\u0924\u094d\u0924\u0930: B",
    ],
)
def test_a_letter_is_read_in_the_ways_that_models_say_it(answer):
    options = {"A": "a cat", "B": "a dog", "C": "a bird"}
    assert exact.judge_choice(answer, "B", options).label == "right"
    assert exact.judge_choice(answer, "A", options).label == "wrong"


@pytest.mark.parametrize("answer", ["A or B", "It could be A. It could also be B.", "A is correct. B is correct.", "E"])
def test_two_letters_or_an_unknown_one_are_no_choice(answer):
    assert exact.judge_choice(answer, "B", {"A": "a cat", "B": "a dog"}).status == "unparsed"


@pytest.mark.parametrize(
    "answer, options, letter",
    [
        ("It isn't B.", {"A": "a cup", "B": "a jug"}, None),
        ("not B", {"A": "a cup", "B": "a jug"}, None),
        ("{'final_answer': 'B'}", {"A": "a cup", "B": "a jug"}, "B"),
        ("-2", {"A": "2", "B": "-2"}, "B"),
        ("+", {"A": "+", "B": "-"}, "A"),
        ("2/1.", {"A": "1/2", "B": "2/1"}, "B"),
        (" <", {"A": "<", "B": ">"}, "A"),
    ],
)
def test_denied_letters_and_options_of_signs(answer, options, letter):
    assert exact.chosen_letter(answer, options) == letter


@pytest.mark.parametrize(
    "answer, letter",
    [
        ("这是狗。", "B"),
        ("这不是狗，而是猫", "A"),
        ("图中是一辆红色的车", "C"),
        ("狗或猫", None),
        ("这非狗", None),
        ("我不知道", None),
    ],
)
def test_options_are_found_where_words_have_no_spaces(answer, letter):
    assert exact.chosen_letter(answer, {"A": "猫", "B": "狗", "C": "红色的车", "D": "红色"}) == letter


@pytest.mark.parametrize(
    "answer, right", [("图中是一只狗。", True), ("狗或猫", True), ("不是狗", False), ("猫", False)]
)
def test_open_answers_are_found_where_words_have_no_spaces(answer, right):
    assert exact.judge_open(answer, "狗").correct == right


COLOURS = {"A": "red", "B": "blue", "C": "green"}


@pytest.mark.parametrize(
    "answer, letter",
    [
        ("A. red - wrong\nB. blue - wrong\nC. green - right", "C"),
        ("**A** ❌ **B** ✅ **C** ❌", "B"),
        ("| A | no |\n| B | yes |\n| C | no |", "B"),
        ("A: red (no) B: blue (yes)", "B"),
        ("It looked like A at first, but the answer is actually C.", "C"),
        ("A. red\nB. blue\nC. green\n\nC", "C"),
        ("A. red\nB. blue\nC. green", None),
        ("B, C", None),
        ("A or B", None),
        ("B / B", "B"),
    ],
)
def test_options_judged_beside_their_texts_and_lists_of_letters(answer, letter):
    assert exact.chosen_letter(answer, COLOURS) == letter


def test_options_that_begin_with_a_verdict_are_no_verdicts():
    signs = {"A": "no parking", "B": "no entry"}
    assert exact.chosen_letter("A: no parking. B: no entry.", signs) is None
    assert exact.chosen_letter("A: no parking", signs) == "A"


@pytest.mark.parametrize(
    "answer, right",
    [("The answer is A.", True), ("A. a dog", True), ("a", True), ("It is a dog.", False), ("B", False)],
)
def test_a_right_answer_that_is_the_letter_a_is_no_article(answer, right):
    assert exact.judge_open(answer, "A").correct is right


VEHICLES = {"A": "a red car", "B": "a blue bus", "C": "a green bike", "D": "a white boat"}


@pytest.mark.parametrize(
    "answer, letter",
    [
        ("A: a red car - incorrect\nB: a blue bus - correct\nC: a green bike - incorrect", "B"),
        ("A. a red car: No\nB. a blue bus: Yes", "B"),
        ("A (no), B (yes)", "B"),
        ("| A | no |\n| B | yes |", "B"),
        ("A\u9519\u8bef\uff0cB\u6b63\u786e\uff0cC\u9519\u8bef\u3002", "B"),
        ("A: not visible. B: visible.", None),
        ("A. a red car\nB. a blue bus\nC. a green bike\nD. a white boat", None),
        ("A. a red car\n\nWhy:\nA. It is red.\nB. There is no bus.", "A"),
        ("B. a blue bus\n\nWhy:\nA. There is no car.\nB. The bus is blue.", "B"),
        ("B, C", None),
        ("A and B", None),
        ('{"letter": "b"}', "B"),
        ('{"answer": "c) a green bike"}', "C"),
        ("\u041e\u0442\u0432\u0435\u0442: \u0421", "C"),
        ("\u041e\u0442\u0432\u0435\u0442: \u0421\u043e\u0431\u0430\u043a\u0430", None),
        ("\u0410", "A"),
        ("\u0412", None),  # looks like B and is the third letter of the alphabet
        ("A resposta certa \u00e9 a letra C.", "C"),
    ],
)
def test_options_gone_through_one_by_one_and_letters_as_they_look(answer, letter):
    assert exact.chosen_letter(answer, VEHICLES) == letter
