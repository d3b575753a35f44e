"""Each sample of a start or an init, from the first call to the end."""

from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest
from places import SAMPLES

import smartglocal_async as sg
from smartglocal_async.codec import codec
from smartglocal_async.operations import OPERATIONS

STARTS: Final = {
    row.path.replace("/", "-"): row
    for row in OPERATIONS
    if row.path.startswith(("session/start/", "session/init/"))
}
# The example on the page of session/start/payout is only an id: the rest came with the create.
# Recurring payments need tokens of the emulator; they have journeys of their own.
_ELSEWHERE: Final = ("session-start-payout.request.json", ".mit", ".cit")
# The card in the provider's examples expires in May 2025.
THEN: Final = sg.Settings(timing=sg.Timing(now=lambda: datetime(2024, 6, 1, tzinfo=UTC)))


def sampled() -> list[str]:
    """Return the names of the samples that can begin a journey."""
    return sorted(
        path.name
        for path in SAMPLES.glob("session-*.request.*json")
        if path.name.partition(".")[0] in STARTS
        and not any(part in path.name.replace(".v2", "") for part in _ELSEWHERE)
    )


async def begin(
    api: sg.SmartGlocal, row: sg.operations.Operation[Any, Any], request: Any
) -> sg.SessionRef:
    """Send the request of a sample, in a session of its own if it needs one."""
    if row.path.startswith("session/start/"):
        made = await api.session.create(sg.CreateSession(), key="order-1")
        request = attrs.evolve(request, session_id=made.id)
    call = getattr(api.session, row.path.removeprefix("session/").replace("/", "_"))
    return sg.SessionRef((await call(request, key="order-1")).id)


@pytest.mark.parametrize("name", sampled())
async def test_from_the_first_call_to_the_end(name, provider, connect) -> None:
    """It breaks no rule, waits for its confirm, and moves its amount once."""
    version = "v2" if ".v2." in name else "v1"
    row = STARTS[name.partition(".")[0]]
    request = codec(version).decode((SAMPLES / name).read_bytes(), row.request)
    api = connect(provider, api_version=version, settings=THEN)

    ref = await begin(api, row, request)
    assert (await api.session.wait(ref)).next_action == sg.NextAction.CONFIRM
    _ = await api.session.confirm(ref)
    # By SberPay in a desktop browser no action of the payer is announced.
    if "sber-pay-web" in name or (await api.session.wait(ref)).is_action_due:
        provider.act(ref.session_id)  # The payer does, in their bank.
    done = await api.session.wait(ref, until=lambda seen: seen.is_final, deadline=10)

    items = (*done.payout_list, *done.payment_list)
    assert [(item.status, item.amount_details) for item in items] == [
        ("succeeded", request.amount_details)
    ]
    report = provider.report()
    moved = 0 if "binding" in name else 1  # A token alone is charged nothing.
    assert (report.sessions, report.moved, report.refused) == (1, moved, 0)
