"""The metrics, and their table in docs/operations.md."""

import asyncio
import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.asgi import INSTRUMENT, Answer, ApiClient, api_client
from tests.support.history.runs import record_run

DOCS = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


def metrics(run: Path, scans: int = 2) -> dict[str, float]:
    async def scenario() -> Answer:
        async with api_client(run) as web:
            _busy(web)
            return await web.get("/metrics")

    record_run(run, scans)
    answer = asyncio.run(scenario())
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.body.decode())
    return {
        sample.name + "".join(f"[{v}]" for v in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def _busy(web: ApiClient) -> None:
    web.control.facts["instruments"] = {
        "afm-1": INSTRUMENT | {"deciding": {"stage": "training", "done": 1, "total": 9}},
        "afm-2": INSTRUMENT | {"connected": False, "state": "stopped", "last_heard_s": 90.0},
    }
    web.control.waiting.append({"decision_id": "d-1"})
    for seconds in (0.0005, 0.03, 7.0):
        web.meters.ack_s.observe(seconds)


def test_metrics_show_the_run_and_its_present_state(tmp_path: Path) -> None:
    found = metrics(tmp_path)
    expected = {
        "vaestar_scans_total[afm-1]": 2,
        "vaestar_decisions_total[one_type_only]": 2,
        "vaestar_results_total[ok]": 2,
        "vaestar_results_total[skipped]": 2,
        "vaestar_points_sent_total": 4,
        "vaestar_events_total[recommendation_sent]": 2,
        "vaestar_decision_seconds_bucket[15.0]": 2,
        "vaestar_decision_seconds_bucket[5.0]": 0,
        "vaestar_decision_seconds_sum": 25,
        "vaestar_instruments_connected": 1,
        "vaestar_instrument_last_heard_seconds[afm-2]": 90,
        "vaestar_instrument_may_go_on[afm-1]": 1,
        "vaestar_instrument_may_go_on[afm-2]": 0,
        "vaestar_search_running": 1,
        "vaestar_decisions_waiting": 1,
        "vaestar_healthy": 1,
        "vaestar_ack_seconds_bucket[0.001]": 1,
        "vaestar_ack_seconds_bucket[0.05]": 2,
        "vaestar_ack_seconds_bucket[+Inf]": 3,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["vaestar_memory_bytes"] > 1e6
    assert found["vaestar_disk_free_bytes"] > 0


def test_the_documentation_lists_every_metric_and_no_other(tmp_path: Path) -> None:
    there = {re.sub(r"\[.*$", "", name) for name in metrics(tmp_path)}
    there = {re.sub(r"_(bucket|count|sum)$", "", name) for name in there}
    # Families without a sample in this run.
    there |= {"vaestar_refused_messages_total", "vaestar_commands_total"}
    table = re.findall(r"^\| `(vaestar_\w+)", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(there)
