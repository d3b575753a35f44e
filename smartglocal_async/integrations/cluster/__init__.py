"""The same batch on any number of machines, on PgQueuer and PostgreSQL (extra ``cluster``).

Jobs carry the name of a batch, and nothing of what becomes of it: that is the journal's, which the
queue may lose, repeat or reorder jobs over without harm. `Payouts.submit` writes a batch down,
`enqueue_batch` puts jobs in for it, and workers take them: `create_worker` is for PgQueuer's own
command line, `worker_of` for a program of yours.
"""

from .environment import create_worker
from .jobs import enqueue_batch
from .worker import Worker, worker_of

__all__ = ["Worker", "create_worker", "enqueue_batch", "worker_of"]
