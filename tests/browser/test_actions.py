"""Everything that an operator can do on the dashboard, with a real service and a scripted instrument."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from instrument_adapters.protocol import messages as wire
from tests.browser.conftest import Opens
from tests.browser.served import Served, served
from tests.system.bench import events, recorded


def answer(page: Page, **fields: str) -> None:
    """Fill in and confirm the open dialog."""
    for name, value in fields.items():
        page.fill(f"#ask input[name={name}]", value)
    page.click("#ask button[value=ok]")


def waiting(agent: Served, opens: Opens, **options: object) -> Page:
    """A page on which six points wait for approval."""
    agent.connect()
    agent.scans("scan-1")
    page = opens(agent.address, agent.token, **options)
    expect(page.locator("#approve-bar")).to_be_visible()
    return page


def recorded_body(agent: Served, kind: str) -> dict:
    (event,) = events(agent.run, kind)
    return event.body


def test_approved_places_go_to_the_instrument_with_the_persons_name(agent: Served, opens: Opens) -> None:
    page = waiting(agent, opens)
    expect(page.locator("#summary")).to_contain_text("3 types of microstructure")
    expect(page.locator(".place")).to_have_count(6)
    page.click("#approve")
    answer(page, reason="looks right")
    answer(page, by="Eva")
    expect(page.locator("#places-state")).to_have_text("sent")
    sent = agent.hears(wire.RecommendationMessage)
    assert len(sent.requests) == 6
    assert sent.approved_by == "Eva"
    assert recorded_body(agent, "approval_given")["reason"] == "looks right"


def test_places_can_be_dropped_and_moved_within_the_limits_that_the_server_tells(agent: Served, opens: Opens) -> None:
    page = waiting(agent, opens)
    page.locator(".place").nth(1).get_by_label("drop point 2").click()
    drag(page, place=0, dx=0, dy=-2000)
    expect(page.locator(".problem")).to_contain_text("outside")
    expect(page.locator("#approve")).to_be_disabled()
    page.get_by_label("move point 1 back").click()
    drag(page, place=0, dx=9, dy=9)
    expect(page.locator("#approve")).to_have_text("Approve 5 points")
    expect(page.locator("#approve-text")).to_contain_text("1 dropped, 1 moved")
    page.wait_for_timeout(200)
    page.click("#approve")
    answer(page)
    answer(page, by="Eva")
    sent = agent.hears(wire.RecommendationMessage)
    given = recorded_body(agent, "approval_given")
    assert given["dropped"] == ["d-scan-1-001"]
    assert [m["moved_from"] for m in given["moved"]] == ["d-scan-1-000"]
    assert len(sent.requests) == 5


def drag(page: Page, place: int, dx: float, dy: float) -> None:
    """Drag a point on the scan by `dx`, `dy` pixels of the screen."""
    x, y = page.evaluate(
        """async (n) => {
          const { state } = await import("/static/store.js"), { layout, toPixels } = await import("/static/geometry.js");
          const box = document.getElementById("scan-over").getBoundingClientRect(), place = state.places.places[n];
          const at = layout(state.scan.frame, box.width, box.height);
          const [row, col] = toPixels(state.scan.frame, place.x_m, place.y_m);
          return [box.left + at.x(col), box.top + at.y(row)];
        }""",
        place,
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y + dy / 2)
    page.mouse.move(x + dx, y + dy)
    page.mouse.up()


def test_places_can_be_rejected_with_a_reason(agent: Served, opens: Opens) -> None:
    page = waiting(agent, opens)
    page.click("#reject")
    page.click("#ask button[value=ok]")
    expect(page.locator("#ask")).to_be_visible()  # a reason is needed
    answer(page, reason="a scratch")
    answer(page, by="Eva")
    expect(page.locator("#places-state")).to_have_text("rejected")
    assert agent.hears(wire.RecommendationMessage).requests == ()
    assert recorded_body(agent, "approval_rejected")["by"] == "Eva"


def test_pause_resume_and_the_emergency_stop_reach_the_instrument(agent: Served, opens: Opens) -> None:
    agent.connect()
    page = opens(agent.address, agent.token)
    page.click("#pause")
    answer(page, reason="lunch")
    answer(page, by="Eva")
    assert agent.hears(wire.CommandMessage).command == "pause"
    expect(page.locator("#state")).to_have_text("paused")
    page.click("#resume")
    answer(page)
    assert agent.hears(wire.CommandMessage).command == "resume"
    page.keyboard.press("Shift+S")  # one press is enough: name and token are known
    assert agent.hears(wire.CommandMessage).command == "stop"
    expect(page.locator("#state")).to_have_text("emergency stop")
    expect(page.locator("#notice")).to_have_class("bad")  # red: a stop is nothing to be glad of
    assert [e.body["by"] for e in events(agent.run, "command_given")] == ["Eva"] * 3


@pytest.mark.parametrize("token", ["wrong", ""])
def test_without_the_token_nothing_happens(agent: Served, opens: Opens, token: str) -> None:
    agent.connect()
    page = opens(agent.address, token)
    page.click("#stop")
    answer(page, by="Mallory", **({} if token else {"token": "guessed"}))
    expect(page.locator("#notice")).to_contain_text("The token was refused; nothing was done.")
    assert events(agent.run, "command_given") == []
    # The token is asked for again, and the right one works.
    page.click("#stop")
    answer(page, token=agent.token)
    assert agent.hears(wire.CommandMessage).command == "stop"


def test_the_token_is_in_no_address_and_outlives_no_tab(agent: Served, opens: Opens) -> None:
    page = opens(agent.address, agent.token)
    expect(page.locator("#live")).to_have_text("live")
    assert agent.token not in page.url
    assert page.evaluate("sessionStorage.getItem('vaestar-token')") == agent.token
    assert page.evaluate("JSON.stringify(localStorage)") == "{}"


def test_a_page_that_shows_the_past_cannot_approve(agent: Served, opens: Opens) -> None:
    page = waiting(agent, opens)
    page.evaluate("sessionStorage.setItem('vaestar-name', 'Eva')")
    page.context.route("**/api/view*", lambda route: route.abort())  # the page does not learn of the newer scan
    page.context.route("**/api/view/**", lambda route: route.abort())
    agent.scans("scan-2")
    agent.do(recorded(agent.run, "approval_asked", 2))
    agent.do(agent.service.control.reject("d-scan-2", "Ben", "too dark"))
    page.click("#approve")
    answer(page)
    expect(page.locator("#notice")).to_contain_text("Not done: decision 'd-scan-1' does not wait for approval")
    expect(page.locator("#notice")).to_contain_text("superseded by a newer scan of the instrument")
    assert events(agent.run, "approval_given") == []


def test_the_emergency_stop_leaves_a_browser_with_eight_tabs_of_the_dashboard(agent: Served, opens: Opens) -> None:
    agent.connect()
    first = opens(agent.address, agent.token)
    expect(first.locator("#state")).to_have_text("connected")
    tabs = [first.context.new_page() for _ in range(7)]
    for tab in tabs:
        tab.set_default_timeout(6000)
        tab.goto(f"{agent.address}/#token={agent.token}")
        expect(tab.locator("#state")).to_have_text("connected")
    last = tabs[-1]
    last.click("#stop")
    answer(last, by="Eva")
    assert agent.hears(wire.CommandMessage).command == "stop"
    for tab in (first, *tabs):  # one stream informs all of them
        expect(tab.locator("#state")).to_have_text("emergency stop")


def test_when_the_tab_with_the_stream_is_closed_another_one_takes_over(agent: Served, opens: Opens) -> None:
    agent.connect()
    first = opens(agent.address, agent.token)
    expect(first.locator("#state")).to_have_text("connected")
    second = first.context.new_page()
    second.goto(f"{agent.address}/#token={agent.token}")
    expect(second.locator("#state")).to_have_text("connected")
    first.close()
    agent.scans("scan-1")
    expect(second.locator("#approve-bar")).to_be_visible(timeout=20_000)


def test_without_locks_a_tab_reads_a_stream_of_its_own(agent: Served, opens: Opens) -> None:
    agent.connect()
    page = opens(agent.address, agent.token)
    page.add_init_script("delete Navigator.prototype.locks")  # as on a plain http address that is not loopback
    page.reload()
    expect(page.locator("#live")).to_have_text("live")
    agent.scans("scan-1")
    expect(page.locator("#approve-bar")).to_be_visible()


def test_an_action_without_an_answer_says_so_after_two_seconds_and_when_it_arrives(agent: Served, opens: Opens) -> None:
    agent.connect()
    page = opens(agent.address, agent.token)
    expect(page.locator("#state")).to_have_text("connected")
    held = []
    page.route("**/api/stop", lambda route: held.append(route))
    page.click("#stop")
    answer(page, by="Eva")
    expect(page.locator("#notice")).to_contain_text("NO ANSWER from the agent for 2 s")
    held[0].continue_()
    expect(page.locator("#notice")).to_contain_text("Emergency stop: every instrument")
    assert agent.hears(wire.CommandMessage).command == "stop"


@pytest.mark.attack(
    "the connection breaks while an action is on its way", promise="the page does not claim that nothing was done"
)
def test_an_action_whose_connection_breaks_is_not_called_undone(agent: Served, opens: Opens) -> None:
    agent.connect()
    page = opens(agent.address, agent.token)
    expect(page.locator("#state")).to_have_text("connected")
    page.route("**/api/stop", lambda route: route.abort("connectionreset"))
    page.click("#stop")
    answer(page, by="Eva")
    expect(page.locator("#notice")).to_contain_text('the connection broke: it is not known whether "stop" is carried out.')


@pytest.mark.attack(
    "the agent is gone when the dashboard's emergency stop is pressed",
    promise="The page says that nothing is stopped, and what to do.",
)
@pytest.mark.parametrize("known", [True, False])
def test_the_emergency_stop_of_an_agent_that_is_gone_says_that_it_stops_nothing(
    tmp_path: Path, opens: Opens, known: bool
) -> None:
    with served(tmp_path / "run") as agent:
        agent.connect()
        page = opens(agent.address, agent.token)
        expect(page.locator("#state")).to_have_text("connected")
        expect(page.locator("#stop")).to_have_text("Emergency stop")
        if known:
            page.evaluate("sessionStorage.setItem('vaestar-name', 'Eva')")
    expect(page.locator("#stop")).to_have_text("No agent: stop by hand")
    expect(page.locator("#stop")).to_have_class("danger unreachable")
    page.click("#stop")
    expect(page.locator("#ask")).not_to_be_visible()  # nobody is asked for a name
    expect(page.locator("#notice")).to_contain_text("NOTHING WAS STOPPED" if known else "THIS BUTTON STOPS NOTHING NOW")
    expect(page.locator("#notice")).to_contain_text("STOP THE INSTRUMENT ITSELF")


def test_the_emergency_stop_names_the_instruments_that_are_not_connected(agent: Served, opens: Opens) -> None:
    agent.connect()
    agent.connect("afm-2")
    agent.service._dispatcher.recorder.ledger.lost.add("afm-2")  # as after a minute of silence
    page = opens(agent.address, agent.token)
    page.click("#stop")
    answer(page, by="Eva")
    expect(page.locator("#notice")).to_contain_text("NOT CONNECTED, so not stopped by this: afm-2. STOP THE INSTRUMENT ITSELF")
