"""Sending over MLLP: each message until it is acknowledged, patients in order, in time."""

import socket
import threading
import time
from datetime import timedelta
from functools import cache

import pytest
from tests.mllp_receiver import stand_in

from neva.errors import NotFoundError, UsageError
from neva.synthesis import Plan
from neva.synthesis.live import Address, Pace, Patience, Sender
from neva.synthesis.messages import Disorder, Traffic

PLAN = Plan(stays=20, seed=2)
IMPATIENT = Patience(timedelta(seconds=0.2), timedelta(seconds=10))


@cache
def traffic(disorder=None):
    return Traffic.of(PLAN, disorder)


def sender(server, **settings):
    settings.setdefault("patience", IMPATIENT)
    made = settings.pop("traffic", None) or traffic()
    return Sender(made, Address.read(server.address), **settings)


def first(count):
    """A pace that sends about so many messages."""
    return Pace(until=traffic().schedule["at"][count])


def test_every_message_is_sent_once_and_counted():
    counts = []
    with stand_in() as server:
        report = sender(server, progress=counts.append).run()
    expected = list(traffic())
    assert server.contents == [one.content for one in expected]
    assert report.messages == len(expected) == counts[-1]
    assert report.answers == {"AA": len(expected)}
    assert (report.resent, report.connected, report.repeated) == (0, 1, 0)
    assert (report.first, report.last) == (expected[0].at, expected[-1].at)
    assert sum(report.triggers.values()) == len(expected)
    assert report.triggers["A01"] + report.triggers["A04"] == PLAN.stays


@pytest.mark.parametrize("trouble", ["silent", "hangs_up", "late"])
def test_a_message_without_acknowledgement_is_sent_again(trouble):
    with stand_in(**{trouble: {3, 7}}) as server:
        report = sender(server, pace=first(20)).run()
    expected = [one.content for one in traffic().between(None, first(20).until)]
    assert list(dict.fromkeys(server.contents)) == expected
    again = [one for one in server.contents if server.contents.count(one) > 1]
    assert set(again) == {expected[2], expected[5]}
    assert report.resent == 2
    assert report.connected == 3
    assert report.messages == len(expected)


def test_a_refused_message_is_counted_and_the_next_one_sent():
    with stand_in(codes={2: "AE", 5: "AR"}) as server:
        report = sender(server, pace=first(20)).run()
    assert report.answers["AE"] == report.answers["AR"] == 1
    assert report.messages == len(server.taken)
    assert report.resent == 0


def test_a_late_acknowledgement_of_another_message_is_none_of_this_one():
    answer = "\x0bMSH|^~\\&\rMSA|AA|{}\r\x1c\r"
    taken = []

    def serve(listening):
        with listening.accept()[0] as connection:
            while data := connection.recv(65536):
                taken.append(data)
                control = data.split(b"|")[9].decode()
                connection.sendall((answer.format("OTHER") + answer.format(control)).encode())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        address = Address("127.0.0.1", listening.getsockname()[1])
        report = Sender(traffic(), address, pace=first(10), patience=IMPATIENT).run()
        thread.join()
    assert report.messages == len(taken)
    assert report.resent == 0


def test_a_receiver_that_starts_later_is_reached():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = Address("127.0.0.1", port)
    made = Sender(traffic(), address, pace=first(10), patience=IMPATIENT)
    thread = threading.Thread(target=made.run)
    thread.start()
    time.sleep(0.3)
    with stand_in(port) as server:
        thread.join()
    assert made.report().messages == len(server.taken) >= 10


def test_nobody_there_is_told_without_end_of_trying():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    patience = Patience(timedelta(seconds=0.1), timedelta(seconds=0.2))
    made = Sender(traffic(), Address("127.0.0.1", port), patience=patience, connections=2)
    with pytest.raises(NotFoundError, match=r"no acknowledgement for 0\.2 seconds"):
        made.run()
    assert made.report().messages == 0


def test_a_patients_messages_go_over_one_connection_in_order():
    disorder = Disorder(seed=2, temporary_numbers=0.5, duplicates=0.1)
    made = traffic(disorder)
    with stand_in() as server:
        report = sender(server, traffic=made, connections=3).run()
    assert report.connected == server.connections == 3
    assert report.repeated > 0
    over = {}
    for connection, content, _ in server.taken:
        over.setdefault(connection, []).append(content)
    assert len(over) == 3
    lanes = {}
    for one in made:
        lanes.setdefault(one.lane, []).append(one.content)
    for contents in lanes.values():
        wanted = set(contents)
        used = [number for number, taken in over.items() if wanted & set(taken)]
        assert len(used) == 1
        assert [one for one in over[used[0]] if one in wanted] == contents


def test_hospital_time_goes_by_at_the_speed_that_is_given():
    at = traffic().schedule["at"]
    # Sixty messages in about a second and a half.
    span = (at[259] - at[200]).total_seconds()
    pace = Pace(speed=span / 1.5, begin=at[200], until=at[260])
    begun = time.monotonic()
    with stand_in() as server:
        report = sender(server, pace=pace).run()
    assert report.messages == len(server.taken) >= 260
    earlier = sum(1 for _ in traffic().between(None, at[200]))
    paced = list(traffic().between(at[200], at[260]))
    assert server.contents[earlier:] == [one.content for one in paced]
    for (_, _, when), message in zip(server.taken[earlier:], paced, strict=True):
        # Never before its time; how much after depends on the machine.
        assert when - begun >= (message.at - at[200]).total_seconds() / pace.speed


def test_what_was_told_before_can_be_left_out():
    begin = traffic().schedule["at"][100]
    with stand_in() as server:
        sender(server, pace=Pace(begin=begin, earlier="skip")).run()
    assert server.contents == [one.content for one in traffic().between(begin)]


@pytest.mark.parametrize("text", ["here", "here:", ":2575", "here:99999", "a@here:1", "here:1/x"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="HOST:PORT"):
        Address.read(text)


def test_addresses_are_written_as_they_are_read():
    assert [str(Address.read(text)) for text in ("here:2575", "[::1]:2575")] == [
        "here:2575",
        "[::1]:2575",
    ]


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="speed"):
        Pace(speed=-1)
    with pytest.raises(UsageError, match="until"):
        Pace(begin=PLAN.cut, until=PLAN.begins)
    with pytest.raises(UsageError, match="connections"):
        Sender(traffic(), Address("here", 1), connections=0)
