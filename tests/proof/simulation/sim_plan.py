"""What a seed decides before the run: the provider, the network, the payouts, the workers."""

import enum
import random
from typing import Final

from attrs import evolve, frozen
from sim_network import NetworkConditions

import smartglocal_async as sg
from smartglocal_async.emulator import WebhookScript
from smartglocal_async.emulator.settings import (
    Confirmation,
    DeclinedSession,
    Duplicates,
    KeyScope,
    Permission,
    Reaction,
    Rules,
    TimeoutWord,
)

REFUSED_AMOUNT: Final = 40_400
"""The amount of an order whose start the provider's rules refuse."""
# Three succeed; declined; `error`, then success; `error`, then failure (see `emulator.OUTCOMES`);
# refused.
_AMOUNTS: Final = (10_000, 10_000, 10_000, 66601, 66620, 66621, REFUSED_AMOUNT)


_TIMES: Final = (
    *((0.05, 0.0), (0.05, 0.0), (1.0, 0.0), (1.0, 2.0)),
    *((240.0, 0.0), (240.0, 2.0), (240.0, 30.0)),
)
"""Minutes until an unconfirmed session ends, and how many seconds a status may be stale."""


class CommitLoss(enum.Enum):
    """How a journal loses commits, once in a run."""

    RESTORED_COPY = "put back"
    """All its workers end, and an older copy replaces it."""
    FAILOVER = "failover"
    """A standby without the last commits becomes the database; the workers continue."""


@frozen(kw_only=True)
class Plan:
    """What a seed decided."""

    mode: sg.Mode
    rules: Rules
    conditions: NetworkConditions
    amounts: tuple[int, ...]
    """The amounts of the payouts."""
    workers: int
    lives: int
    lease_seconds: float
    journal_faults: float
    clock_jumps: bool
    death_rate: float
    """The probability that a worker dies or is paused at some step."""
    shares_keys: bool = False
    """Whether another journal has other orders with the same keys."""
    commit_loss: CommitLoss | None = None
    has_generic_codes: bool = False
    """Whether the provider calls a start that comes too late an invalid request."""
    pays_declined: bool = False
    """Whether the provider pays a payout that it declined."""
    retries: bool = False
    """Whether an operator tops the wallet up, and retries what failed, for whatever cause."""
    decides: bool = False
    """Whether an operator writes open payouts as failed, rightly or not."""

    @property
    def rounds(self) -> int:
        """How often each worker pays all orders."""
        return 3 if self.retries else 1

    @property
    def orders(self) -> list[list[sg.PayoutOrder]]:
        """The orders of each journal."""
        ours = [_order(number, amount) for number, amount in enumerate(self.amounts)]
        if not self.shares_keys:
            return [ours]
        # One has the same amount and another payee, the others have another amount.
        others = [self.amounts[0], *(amount + 7 for amount in self.amounts[1:])]
        return [ours, [_order(number, amount, "other") for number, amount in enumerate(others)]]

    def in_one_step(self) -> "Plan":
        """Return the plan with payouts in one step, which the provider confirms."""
        rules = evolve(self.rules, confirmation=Confirmation.AUTOMATIC)
        return evolve(self, mode=sg.Mode.ONE_STEP, rules=rules)

    @classmethod
    def choose(cls, rng: random.Random) -> "Plan":
        """Choose a plan at random."""
        mode = rng.choice((sg.Mode.MANUAL, sg.Mode.AUTOMATIC))
        return cls(
            mode=mode,
            rules=_rules(rng, mode),
            conditions=NetworkConditions(
                network_faults=rng.choice((0.0, 0.1, 0.3, 0.5)),
                provider_faults=rng.choice((0.0, 0.05, 0.2)),
                reply_faults=rng.choice((0.0, 0.0, 0.05, 0.2)),
                wrong_amounts=rng.choice((*[0.0] * 9, 0.05)),
                returned=rng.random() < 0.3,
                max_late_seconds=rng.choice((1.0, 30.0, 300.0)),
                webhooks=_webhooks(rng),
            ),
            amounts=tuple(rng.choices(_AMOUNTS, k=rng.randrange(1, 4))),
            workers=rng.choice((1, 2, 2, 3)),
            lives=rng.randrange(1, 5),
            lease_seconds=rng.choice((2.0, 10.0, 30.0)),
            journal_faults=rng.choice((0.0, 0.0, 0.02, 0.1)),
            clock_jumps=rng.random() < 0.3,
            death_rate=rng.choice((0.0, 0.5, 0.9)),
            shares_keys=rng.random() < 0.1,
            commit_loss=rng.choice((*[None] * 8, *CommitLoss)),
            has_generic_codes=rng.random() < 0.5,
            pays_declined=rng.random() < 0.1,
        )


def _rules(rng: random.Random, mode: sg.Mode) -> Rules:
    """Return a provider that keeps the promises A1 to A5 and is otherwise arbitrary."""
    # A session that ends before its status shows that it waits can never be confirmed.
    confirm_minutes, status_lag_seconds = rng.choice(_TIMES)
    return Rules(
        confirmation=Confirmation[mode.name],
        second_start=rng.choice(tuple(Permission)),
        idempotency_header=rng.choice((Reaction.IGNORE, Reaction.IGNORE, Reaction.REFUSE)),
        key_scope=rng.choice(tuple(KeyScope)),
        duplicates=rng.choice(tuple(Duplicates)),
        cancel_created=rng.choice((Permission.ALLOW, Permission.ALLOW, Permission.REFUSE)),
        second_confirm=rng.choice(tuple(Reaction)),
        late_cancel=rng.choice(tuple(Reaction)),
        confirm_minutes=confirm_minutes,
        confirm_timeout=rng.choice(tuple(TimeoutWord)),
        declined_session=rng.choice((DeclinedSession.CANCELLED, DeclinedSession.ACCEPTED)),
        finished_after_cancel=rng.random() < 0.5,
        processing_seconds=rng.choice((0.0, 0.0, 0.5, 20.0)),
        status_lag_seconds=status_lag_seconds,
        error_http_status=rng.choice((400, 200)),
    )


def _webhooks(rng: random.Random) -> WebhookScript:
    return WebhookScript(
        lost=rng.choice((0.0, 0.5, 1.0)),
        duplicated=rng.choice((0.0, 0.3)),
        delayed=rng.choice((0.0, 0.5)),
        delay_seconds=rng.choice((5.0, 120.0, 600.0)),
        in_order=rng.random() < 0.5,
        seed=rng.randrange(2**32),
    )


def _order(number: int, amount: int, payee: str = "hash") -> sg.PayoutOrder:
    # The provider refuses a card without a number, but only at the start.
    card = "" if amount == REFUSED_AMOUNT else payee
    return sg.PayoutOrder(
        key=f"payout-{number}",
        payment_method=sg.EncryptedCard(number_hash=card),
        amount_details=sg.AmountDetails(amount, "usd"),
        participant_details=sg.ParticipantDetails(recipient=sg.Participant(full_name="Jane Roe")),
    )
