from benchmarks.recovery.deepening import report


def world(seed: int, gain: float) -> dict:
    found = {"chosen": "rt-w11-s0", "ari": 0.3, "value": 0.1, "elbo_per_px": -0.57, "vae_ari": None}
    deep = found | {"ari": 0.3 + gain}
    return {"seed": seed, "cpu_s": dict.fromkeys(("first", "deeper", "plain", "deep"), 10.0), "plain": found, "deep": deep}


def test_gains_are_paired_and_what_no_world_has_is_said_to_be_missing() -> None:
    outcome = report([world(100, 0.1), world(101, 0.2)])
    assert round(outcome.figures["ari_gain"], 9) == 0.15
    assert outcome.figures["ari_gain_low"] < 0.15 < outcome.figures["ari_gain_high"]
    assert outcome.figures["elbo_per_px_gain"] == 0
    assert outcome.missing == {"vae_ari_gain": "available on no world"}
    (rows,) = outcome.tables.values()
    assert [row["ARI"] for row in rows] == ["0.300 / 0.400", "0.300 / 0.500"]
