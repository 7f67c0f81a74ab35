"""A screen on a wall has a token of its own, which opens the wallboard and nothing else."""

import pytest
from tests.doors import build, doors

from neva.errors import BadInputError, NotFoundError
from neva.web.security.access import ACCESS, PUBLIC
from neva.web.wallboards import is_of_a_wallboard, read_wallboard_tokens

TOKEN = "0123456789abcdef" * 3
OTHER = "fedcba9876543210" * 3


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wall"))


@pytest.fixture
def tokens(tmp_path):
    file = tmp_path / "wallboards.txt"
    file.write_text(f"# ward 3\n{TOKEN}\n\n{OTHER}\n")
    return file


@pytest.fixture
def made(hospital, tokens, tmp_path):
    with doors(*hospital, tmp_path / "state.sqlite", wallboard_tokens=tokens) as opened:
        yield opened


def test_a_screen_opens_the_wallboard_with_its_token_and_sees_no_patient(made):
    screen = made.client()
    assert screen.get("/wallboard").status_code == 303  # to the page of signing in
    answer = screen.get("/wallboard/open", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/wallboard")
    cookie = answer.headers["set-cookie"].lower()
    for words in ("httponly", "samesite=strict", "path=/wallboard"):
        assert words in cookie
    page = screen.get("/wallboard")
    assert page.status_code == 200
    for subject in made.subjects.values():
        assert str(subject) not in page.text


def test_the_token_of_a_screen_opens_no_other_page(made):
    screen = made.client()
    screen.get("/wallboard/open", params={"token": TOKEN})
    held = f"neva_wallboard={TOKEN}; neva_session={TOKEN}"
    for (method, path), allowed in ACCESS.items():
        if method != "GET" or allowed is PUBLIC or path in ("/wallboard", "/wallboard/changes"):
            continue
        for page in (path, f"{path}.json", f"{path}.csv"):
            answer = screen.get(page.format_map(Ids()), headers={"cookie": held})
            assert answer.status_code in (303, 401, 404), page


class Ids(dict):
    def __missing__(self, key):
        return "1"


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "\u0430" * 48])
def test_another_token_opens_nothing(made, token):
    screen = made.client()
    assert screen.get("/wallboard/open", params={"token": token}).status_code == 403
    assert screen.get("/wallboard").status_code == 303


def test_a_line_taken_out_of_the_file_closes_its_screen_at_once(made, tokens):
    first, second = made.client(), made.client()
    first.get("/wallboard/open", params={"token": TOKEN})
    second.get("/wallboard/open", params={"token": OTHER})
    tokens.write_text(f"{OTHER}\n")
    assert first.get("/wallboard").status_code == 303
    assert second.get("/wallboard").status_code == 200


def test_a_file_of_tokens_that_cannot_be_used_is_told(tmp_path):
    file = tmp_path / "tokens"
    with pytest.raises(NotFoundError, match="found no file"):
        read_wallboard_tokens(file)
    file.write_text("short\n")
    with pytest.raises(BadInputError, match="line 1: a token has at least 32 characters; found 5"):
        read_wallboard_tokens(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_wallboard_tokens(file)
    assert not is_of_a_wallboard(TOKEN, None)
