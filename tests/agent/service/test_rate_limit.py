from agent.service.rate_limit import RateLimiter


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
