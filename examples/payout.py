"""Pay out to a card by its token: create, start, confirm, and wait for the end."""

import asyncio

import smartglocal_async as sg

AMOUNT = sg.AmountDetails.of("100.00", "usd")


async def main() -> None:
    """Pay 100 USD, and print the result."""
    async with sg.SmartGlocal.from_env() as api:
        session = await api.session.create(sg.CreateSession(), key="payout-7")
        ref = sg.SessionRef(session.id)
        try:
            print(f"{session.id}: {await pay(api, ref)}")
        except sg.Refused as error:
            print(f"{session.id}: refused: {error.code} ({error.description})")
        except sg.OutcomeUnknown as error:
            # A cancelled session pays nothing. Pay in a new one only after the cancel succeeded.
            print(f"{session.id}: {error}")
            print(f"{session.id}: {(await api.session.cancel(ref)).status}")
        except sg.errors.StillOpen as error:
            print(f"{session.id}: don't pay again before its status is final: {error}")


async def pay(api: sg.SmartGlocal, session: sg.SessionRef) -> str:
    """Start the payout, confirm it if it is the intended one, and return its final status."""
    recipient = sg.Participant(full_name="Jane Roe")
    _ = await api.session.start_payout(
        sg.StartPayout(
            session_id=session.session_id,
            payment_method=sg.EncryptedCard(number_hash="hash-from-the-widget"),
            amount_details=AMOUNT,
            participant_details=sg.ParticipantDetails(recipient=recipient),
        ),
        key="payout-7",
    )
    ready = await api.session.wait(session)
    if ready.next_action == sg.NextAction.CONFIRM:
        if [payout.amount_details for payout in ready.payout_list] != [AMOUNT]:
            _ = await api.session.cancel(session)
            return "cancelled: it isn't the one payout that was intended"
        _ = await api.session.confirm(session)
    done = await api.session.wait(session, until=lambda seen: seen.is_final)
    return ", ".join(str(payout.status) for payout in done.payout_list)


if __name__ == "__main__":
    asyncio.run(main())
