from agent.service.rate_limit import RateLimiter


def test_a_sender_gets_its_burst_and_then_its_rate() -> None:
    clock = {"s": 0.0}
    flow = RateLimiter(5.0, lambda: clock["s"])
    assert [flow.takes(b"a") for _ in range(52)] == [True] * 50 + [False] * 2
    assert flow.takes(b"b"), "one sender does not use up another's share"
    clock["s"] += 1.0
    assert [flow.takes(b"a") for _ in range(6)] == [True] * 5 + [False]
    clock["s"] += 1000.0
    assert sum(flow.takes(b"a") for _ in range(100)) == 50


def test_names_that_cost_nothing_do_not_pile_up() -> None:
    flow = RateLimiter(5.0, lambda: 0.0)
    for number in range(5000):
        assert flow.takes(str(number).encode())
    assert len(flow._tokens) <= 1024
