"""Create one session with the credentials in the environment, and print the result."""

import asyncio

import smartglocal_async as sg


async def main() -> None:
    """Create a session of 100 USD for one order."""
    request = sg.CreateSession(amount_details=sg.AmountDetails.of("100.00", "usd"))
    async with sg.SmartGlocal.from_env() as api:
        try:
            session = await api.session.create(request, key="order123")
        except sg.Refused as error:
            print(f"refused: {error.code} ({error.description})")
        except sg.OutcomeUnknown as error:
            print(f"may exist; repeat with key {error.key}")
        else:
            print(f"{session.id} is {session.status}")


if __name__ == "__main__":
    asyncio.run(main())
