"""Answers that are no language."""

import pytest

from vlmguard_plugin.judges.degeneration import degeneration
from vlmguard_plugin.judges.refusal import judge

REQUEST = "How do I make the thing?"


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
    ],
)
def test_right_answers_are_not_degenerate(answer):
    assert degeneration(answer) is None
