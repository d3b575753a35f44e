"""``payouts serve``: the page over a journal, for the person who runs a batch."""
