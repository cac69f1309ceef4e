import pytest

from agent.service.rate_limit import RateLimiter, SenderLimits


def test_a_sender_gets_its_burst_and_then_its_rate() -> None:
    clock = {"s": 0.0}
    limiter = RateLimiter(5.0, lambda: clock["s"])
    assert [limiter.allows(b"a") for _ in range(52)] == [True] * 50 + [False] * 2
    assert limiter.allows(b"b"), "one sender does not use up another's share"
    clock["s"] += 1.0
    assert [limiter.allows(b"a") for _ in range(6)] == [True] * 5 + [False]
    clock["s"] += 1000.0
    assert sum(limiter.allows(b"a") for _ in range(100)) == 50


def test_the_number_of_remembered_senders_is_limited() -> None:
    limiter = RateLimiter(5.0, lambda: 0.0)
    for number in range(5000):
        assert limiter.allows(str(number).encode())
    assert len(limiter._tokens) <= 1024


MIB = 1 << 20


def test_bytes_count_as_messages_and_the_largest_scan_always_fits() -> None:
    limits = SenderLimits(50.0, lambda: 0.0)
    assert [limits.allows(b"a", 403 * MIB, known=True) for _ in range(3)] == [True, True, False]
    assert limits.allows(b"b", 10, known=True)
    assert SenderLimits(1.0, lambda: 0.0).allows(b"a", 512 * MIB, known=True)


@pytest.mark.attack("messages under ever new names", promise="all new names together get the share of less than one instrument")
def test_names_that_nobody_knows_share_one_limit_and_do_not_touch_the_known_ones() -> None:
    clock = {"s": 0.0}
    limits = SenderLimits(50.0, lambda: clock["s"])
    assert sum(limits.allows(str(n).encode(), 10, known=False) for n in range(5000)) == 100
    assert limits.allows(b"afm-1", 10, known=True)
    clock["s"] = 1.0
    assert sum(limits.allows(str(n).encode(), 10, known=False) for n in range(5000)) == 10


@pytest.mark.attack("a hello under ever new names", promise="each new name is recorded, so there are few new ones a minute")
def test_new_names_and_repeated_hellos_are_limited() -> None:
    clock = {"s": 0.0}
    limits = SenderLimits(50.0, lambda: clock["s"])
    assert sum(limits.allows_hello(str(n).encode(), known=False) for n in range(500)) == 32
    assert sum(limits.allows_hello(b"afm-1", known=True) for n in range(500)) == 30
    assert sum(limits.allows_trouble(b"afm-1") for n in range(500)) == 100
    clock["s"] = 60.0
    assert sum(limits.allows_hello(str(n).encode(), known=False) for n in range(500)) == 1
