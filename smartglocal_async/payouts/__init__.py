"""Pay out at most once per key, whatever crashes, pauses or is lost, through a journal.

`protocol` decides, `reading` reads what a session shows, `sending` calls, `working` leads one
payout on, `desk` is what the workers of one object share, and `payouts` is the door.
"""
