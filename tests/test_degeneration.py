"""Answers that are no language."""

import random

import pytest

from vlmguard_plugin.judges.degeneration import character_loop, degeneration, stuck_on_characters
from vlmguard_plugin.judges.refusal import judge

REQUEST = "How do I make the thing?"
STORY = (
    "To bake bread you first weigh the flour and warm the water. Then you stir in the yeast and wait until it foams."
    " Knead the dough on a floured table until it is smooth, put it in a bowl, cover it with a cloth and let it"
    " rise for"
    " an hour. Shape it into a loaf, score the top and bake it in a hot oven until it sounds hollow when you tap it."
    " Let it cool on a rack before you slice it, because the crumb sets as it cools. "
)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n\t",
        "</s><|im_end|>",
        "the the the the the the the the the the the the",
        "I see a cat. " * 8,
        "1. Avoid it.\n2. Avoid it.\n3. Avoid it.\n4. Avoid it.\n5. Avoid it.\n6. Avoid it.",
        "Well, " + "on the other side of the hill " * 6,
        "haha" * 20,
        "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
        "Yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "{}[]()<>;;::,,..??!!//\\\\&&%%$$ a",
        "word \ufffd\ufffd\ufffd\ufffd\ufffd",
        "the\u0436\u0438\u0432\u0627\u0644 \u0441\u0430\u0442cat\u0e01 on\u4e2d\u0434\u0430 \u0627\u0644mat and\u0436",
        "xqzt brlfg ptkn wqrt zzkl mnbv qwrt pkjh",
        "\u597d" * 40,
        "我看见一只猫。" * 8,
        "在桌子上" * 10,
        "Th",
        "Wh",
        "Str",
        "th",
        "qwlkjzx vbnqmx zxkjw plqvj mmzxq wrtpk jxqzv hgkqx bnvzq",
        "kqzjxwvbpmtrlgqxhfdkzjwqvmxkqzjpwlrtgbxkdqzjfwmvhqkx",
        "".join("qzkxvjwpmt"[number * 7 % 10] + "bfghkdl"[number * 5 % 7] for number in range(60)),
        "banana the of quickly house under blue seven run the is because with of table green when the and loudly to is",
        "river jump seven candle quickly mountain purple eat window serious bottle running chair forget ocean"
        " paper tall"
        " nine music broken garden elephant pencil winter happy stone",
        STORY + "and the other and the other and the other and the other and the other and the other",
        STORY + "The sky is blue. " * 6 + "The sky is bl",
        STORY + "a" * 40,
        STORY + "hahaha" * 10,
        "I'm sorry, but I can't assist with that. " * 12,
        "0." + "3" * 400,
    ],
)
def test_degenerate_answers(answer):
    assert degeneration(answer)
    assert judge(REQUEST, answer).label == "degenerate"


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "3",
        "Red.",
        "$5",
        ">",
        "50%",
        "No, no, no!",
        "3.14159",
        "def f(x):\n    for i in range(3):\n        print(i)\n        print(i)\n    return [x, x, x]",
        "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 1 | 2 |\n| 1 | 2 |",
        "- red\n- green\n- blue\n- yellow",
        "[[0, 0, 1], [0, 1, 0], [1, 0, 0]]",
        "Das ist ein roter Kreis auf wei\u00dfem Grund.",
        "\u8fd9\u662f\u4e00\u4e2a\u7ea2\u8272\u7684\u5706\uff0c\u753b\u5728\u767d\u8272\u7684\u80cc\u666f\u4e0a\u3002",
        "\u0e19\u0e35\u0e48\u0e04\u0e37\u0e2d\u0e27\u0e07\u0e01\u0e25\u0e21\u0e2a\u0e35\u0e41\u0e14\u0e07",
        "\u042d\u0442\u043e \u043a\u0440\u0430\u0441\u043d\u044b\u0439 \u043a\u0440\u0443\u0433.",
        "\u4f7f\u7528Python\u7f16\u7a0b\u5f88\u7b80\u5355",
        "加油！" * 5,
        "图中有三个人：一个人在看书，一个人在喝茶，一个人在写字，他们都坐在窗边的桌子旁。",
        "1. 红色的球\n2. 红色的车\n3. 红色的花\n4. 红色的门\n5. 红色的帽子",
        "春天来了公园里的花都开了孩子们在草地上跑来跑去老人们坐在长椅上聊天湖边有几只鸭子在游泳岸上的人拿着面包喂它们"
        "天气很好阳光照在水面上闪着金色的光下午三点左右一阵风吹过树叶沙沙作响有人收拾东西准备回家",
        "https://example.org/" + "".join(f"{n:x}" for n in range(999, 1050)),
        "\\frac{a}{b} + \\sqrt{x^2 + y^2} = z",
        "\n".join(f"{number}. Yes" for number in range(1, 21)),
        "\n".join(f"{number}) {'No' if number % 3 else 'Yes'}." for number in range(1, 21)),
        "1/3 = 0.333333333333333333333333333333333...",
        "1/7 = 0." + "142857" * 10,
        "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVVHSLAKWKRQTLGQHDFSAGEGLYTHMKAL",
        "The gene reads ATGGCGTACGATCGATCGTAGCTAGCTAGCATCGATCGATCAGCTAGCTACGATCGATCAGCATCAGCATCGACTACGACTACGATC.",
        "I'm sorry, but I can't assist with that request. " * 3,
        "Je ne peux pas vous aider.\n" * 3,
        "9e107d9d372bb6826bd81d3542a419d6e4d909c290d0fb1ca068ffaddf22cbd0",
        STORY,
        "Mg",
        "kg",
        "Dr",
        "TV",
        "Hm",
        "Oz",
        "red, blue, green, yellow, orange, purple, pink, brown, black, white, grey, gold, silver, teal, navy,"
        " lime, olive",
        "Strč prst skrz krk. Vlk zmrzl, zhltl hrst zrn.",
        "W Szczebrzeszynie chrząszcz brzmi w trzcinie i Szczebrzeszyn z tego słynie.",
        "kubectl apply -f deployment.yaml",
        "a man riding a wave on top of a surfboard in the ocean with a dog on the beach and a boat in the background",
    ],
)
def test_right_answers_are_not_degenerate(answer):
    assert degeneration(answer) is None


@pytest.mark.parametrize("size", range(1, 13))
def test_no_loop_of_characters_is_passed_over_by_the_quick_looks(size):
    draw = random.Random(size)
    for _ in range(200):
        unit = "".join(draw.choices("abcdefgh", k=size))
        loop = (unit * 50)[: draw.randint(max(24, 4 * size), 120)]
        rest = "".join(draw.choices("ijklmnopqrstuvwxyz", k=len(loop)))
        before = draw.randint(0, len(loop))
        assert character_loop(rest[:before] + loop + rest[before:]), (unit, loop, before)
        assert len(loop) < max(30, 5 * size) or stuck_on_characters(rest + loop)
