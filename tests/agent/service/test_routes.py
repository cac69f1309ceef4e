"""Connections of each instrument: who is sent what, and what they have answered."""

from agent.messaging.status import Replies
from agent.service.routes import Routes, name_in


def test_the_name_is_what_stands_before_the_slash():
    assert name_in(b"afm-1/0123abcd") == name_in(b"afm-1") == "afm-1"
    assert name_in(b"\x00k\x8bEg") == "\x00k\\x8bEg"


def test_the_connection_that_spoke_last_is_the_newest_and_one_that_ended_is_forgotten():
    routes = Routes()
    assert not routes.spoke("afm-1", b"afm-1/a")
    assert routes.spoke("afm-1", b"afm-1/b")
    assert not routes.spoke("afm-1", b"afm-1/a")  # known: nothing to warn of again
    assert routes.all_of("afm-1") == [b"afm-1/a", b"afm-1/b"]
    assert (routes.newest("afm-1"), routes.newest("afm-2")) == (b"afm-1/a", None)
    routes.drop(b"afm-1/a")
    routes.drop(b"afm-2/never seen")
    assert routes.all_of("afm-1") == [b"afm-1/b"]


def test_of_many_connections_under_one_name_the_one_that_has_been_silent_for_longest_makes_room_until_it_speaks():
    routes = Routes()
    for number in range(100):
        routes.spoke("afm-1", b"afm-1/%d" % number)
        routes.spoke("afm-1", b"afm-1/true")
    assert len(routes.all_of("afm-1")) == 64
    assert routes.newest("afm-1") == b"afm-1/true"


def test_replies_count_the_live_connections_that_answered_the_newest_command():
    now_s = [10.0]
    routes = Routes(lambda: now_s[0])
    assert routes.replies("afm-1") == Replies(0, 0, None)
    for end in (b"afm-1/a", b"afm-1/b"):
        routes.spoke("afm-1", end)
    routes.asked("afm-1", "command-1")
    now_s[0] = 10.012
    routes.answered(b"afm-1/a", "command-1")
    routes.answered(b"afm-1/b", "command-0")  # an older one
    now_s[0] = 20.0
    routes.answered(b"afm-1/a", "command-1")  # a repetition is no later answer
    routes.asked("afm-1", "command-1")
    assert routes.replies("afm-1") == Replies(2, 1, 12.0)
    routes.drop(b"afm-1/a")
    assert routes.replies("afm-1") == Replies(1, 0, 12.0)
    routes.asked("afm-1", "command-2")
    assert routes.replies("afm-1") == Replies(1, 0, None)
