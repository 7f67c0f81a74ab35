"""What *Now* keeps for many is shown only to those for whom it is the same."""

import re

import pytest
from tests.doors import CSRF, build, doors

ACCOUNTS = ("viewer", "analyst", "clinician", "alpha", "administrator")
LANGUAGES = ("en", "ru")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return build(tmp_path_factory.mktemp("hospital"))


def seen(made, account, language):
    client = made.signed_in(account)
    client.cookies.set("neva_language", language)
    page = client.get("/now", headers={"accept": "text/html"})
    assert page.status_code == 200
    # Jobs have ids of their own; so do forms.
    found = re.sub(r"/jobs/[\w-]+", "/jobs/ID", CSRF.sub("", page.text))
    return re.sub(r'data-seen="\w+"', "", found)


@pytest.fixture(scope="module")
def alone(hospital, tmp_path_factory):
    """What each sees of a server that nobody else asked."""
    found = {}
    for account in ACCOUNTS:
        for language in LANGUAGES:
            state = tmp_path_factory.mktemp("state") / "state.sqlite"
            with doors(*hospital, state) as made:
                found[account, language] = seen(made, account, language)
    return found


@pytest.mark.parametrize("order", [1, -1])
def test_who_looked_before_changes_nothing(hospital, alone, tmp_path, order):
    with doors(*hospital, tmp_path / "state.sqlite") as made:
        for _ in range(2):
            for who in list(alone)[::order]:
                assert seen(made, *who) == alone[who], who


def test_the_limited_see_the_tables_of_their_units_only(alone):
    assert len({alone[one, "en"] for one in ("clinician", "alpha", "viewer")}) == 3
    assert alone["viewer", "en"] != alone["viewer", "ru"]


def test_a_later_minute_is_made_anew(hospital, tmp_path):
    with doors(*hospital, tmp_path / "state.sqlite") as made:
        before = seen(made, "viewer", "en")
        made.later(hours=3)
        after = seen(made, "viewer", "en")
        assert before != after
