"""Take a payment: create its session, get the widget's token, and act until it is final.

In production the payer enters the card into the widget in the browser. Here the program starts the
payment itself, so that it runs against ``smartglocal emulator``.
"""

import asyncio

import smartglocal_async as sg

AMOUNT = sg.AmountDetails.of("25.00", "eur")


async def main() -> None:
    """Take 25 EUR for an order, and refund 5 EUR."""
    order = sg.CreateSession(amount_details=AMOUNT, customer=sg.Customer(reference="customer-3"))
    async with sg.SmartGlocal.from_env() as api:
        session = await api.session.create(order, key="order-7")
        ref = sg.SessionRef(session.id)
        widget = sg.models.AcquiringWidget(session_id=session.id, locale="en")
        token = await api.token.issue(sg.IssueToken(acquiring_widget=widget))
        print(f"{session.id}: pass the widget its token of {len(token.public_token)} characters")

        _ = await api.session.start_payment(
            sg.StartPayment(
                session_id=session.id,
                payment_details=sg.EncryptedCard(number_hash="hash-from-the-widget"),
            ),
            key="order-7",
        )
        done = await follow(api, ref)
        print(f"{session.id}: {done.status}, {[str(pay.status) for pay in done.payment_list]}")

        part = sg.RefundPayment(session_id=session.id, amount_details=sg.AmountDetails(500, "eur"))
        _ = await api.session.refund(part, key="order-7-refund-1")
        after = await api.session.status(ref)
        print(f"{session.id}: refunds {[str(r.status) for r in after.payment_list[0].refunds]}")


async def follow(api: sg.SmartGlocal, ref: sg.SessionRef) -> sg.Session:
    """Confirm or capture whenever the session waits for it; return the final session."""
    while not (session := await api.session.wait(ref, until=is_our_turn)).is_final:
        if session.next_action == sg.NextAction.CONFIRM:
            _ = await api.session.confirm(ref)
        else:
            _ = await api.session.capture(sg.CapturePayment(session_id=ref.session_id))
    return session


def is_our_turn(session: sg.Session) -> bool:
    """Return whether the session is final or waits for the merchant.

    With 3-D Secure it may wait for the payer instead: send them to
    ``customer_interaction.redirect`` and keep waiting.
    """
    return session.is_final or session.next_action is not None


if __name__ == "__main__":
    asyncio.run(main())
