"""What a seed chooses before anything runs: the provider, the weather, the payouts, the workers."""

import random
from typing import Final

from attrs import frozen
from sim_network import Weather

import smartglocal_async as sg
from smartglocal_async.emulator import WebhookScript
from smartglocal_async.emulator.rules import (
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Permission,
    Reaction,
    Rules,
    TimeoutWord,
)

# Two succeed plainly; declined; `error`, then well; `error`, then failed (see `emulator.OUTCOMES`).
_AMOUNTS: Final = (10_000, 10_000, 10_000, 66601, 66620, 66621)


@frozen(kw_only=True)
class Plan:
    """What a seed chose before anything ran."""

    mode: sg.Mode
    rules: Rules
    weather: Weather
    amounts: tuple[int, ...]
    """Of the payouts that are to be made."""
    workers: int
    lives: int
    lease_seconds: float
    journal_trouble: float
    jumps: bool
    death: float
    """The chance of a worker to die, or to be paused, at some step."""

    @property
    def orders(self) -> list[sg.PayoutOrder]:
        """Give what is to be paid."""
        return [_order(number, amount) for number, amount in enumerate(self.amounts)]

    @classmethod
    def of(cls, dice: random.Random) -> "Plan":
        """Choose."""
        mode = dice.choice((sg.Mode.MANUAL, sg.Mode.AUTOMATIC))
        return cls(
            mode=mode,
            rules=_rules(dice, mode),
            weather=Weather(
                trouble=dice.choice((0.0, 0.1, 0.3, 0.5)),
                spoilt=dice.choice((0.0, 0.05, 0.2)),
                most_late_seconds=dice.choice((1.0, 30.0, 300.0)),
                webhooks=_webhooks(dice),
            ),
            amounts=tuple(dice.choices(_AMOUNTS, k=dice.randrange(1, 4))),
            workers=dice.choice((1, 2, 2, 3)),
            lives=dice.randrange(1, 5),
            lease_seconds=dice.choice((2.0, 10.0, 30.0)),
            journal_trouble=dice.choice((0.0, 0.0, 0.02, 0.1)),
            jumps=dice.random() < 0.3,
            death=dice.choice((0.0, 0.5, 0.9)),
        )


def _rules(dice: random.Random, mode: sg.Mode) -> Rules:
    """Give a provider that keeps the promises A1 to A5, and may do anything else."""
    return Rules(
        confirmation=Confirmation[mode.name],
        second_start=dice.choice(tuple(Permission)),
        idempotency_header=dice.choice((Reaction.IGNORE, Reaction.IGNORE, Reaction.REFUSE)),
        key_scope=dice.choice(tuple(KeyScope)),
        duplicates=dice.choice(tuple(Duplicates)),
        cancel_created=dice.choice((Permission.ALLOW, Permission.ALLOW, Permission.REFUSE)),
        second_confirm=dice.choice(tuple(Reaction)),
        late_cancel=dice.choice(tuple(Reaction)),
        confirm_minutes=dice.choice((0.05, 1.0, 240.0)),
        confirm_timeout=dice.choice(tuple(TimeoutWord)),
        declined_session=dice.choice((DeclinedSession.CANCELLED, DeclinedSession.ACCEPTED)),
        finished_after_cancel=dice.random() < 0.5,
        processing_seconds=dice.choice((0.0, 0.0, 0.5, 20.0)),
        status_lag_seconds=dice.choice((0.0, 0.0, 2.0)),
        error_http_status=dice.choice((400, 200)),
    )


def _webhooks(dice: random.Random) -> WebhookScript:
    return WebhookScript(
        lost=dice.choice((0.0, 0.5, 1.0)),
        duplicated=dice.choice((0.0, 0.3)),
        delayed=dice.choice((0.0, 0.5)),
        delay_seconds=dice.choice((5.0, 120.0, 600.0)),
        in_order=dice.random() < 0.5,
        seed=dice.randrange(2**32),
    )


def _order(number: int, amount: int) -> sg.PayoutOrder:
    return sg.PayoutOrder(
        key=f"payout-{number}",
        payment_method=sg.EncryptedCard(number_hash="hash"),
        amount_details=sg.AmountDetails(amount, "usd"),
    )
