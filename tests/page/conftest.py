"""Boards that the page is made of: what several models did, and one whose every text tries to do something."""

import pytest
from helpers.page_boards import hostile_board, write_outputs

from vlmguard_plugin.leaderboard.build import build_board


@pytest.fixture(scope="session")
def outputs(tmp_path_factory):
    return write_outputs(tmp_path_factory.mktemp("outputs"))


@pytest.fixture(scope="session")
def board(outputs):
    return build_board(outputs)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    return hostile_board(tmp_path_factory.mktemp("hostile"))
