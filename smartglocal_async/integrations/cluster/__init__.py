"""The same batch on any number of machines, on PgQueuer and PostgreSQL (extra ``cluster``).

A job carries only the name of a batch. The payouts and their states are in the journal, so that the
queue may lose, repeat or reorder jobs without harm. `Payouts.submit` stores a batch in the journal,
`enqueue_batch` adds jobs for it, and workers take them: use `create_worker` with PgQueuer's own
command line, and `worker_of` in your own program.
"""

from .jobs import enqueue_batch
from .worker import ClusterWorker, create_worker, worker_of

__all__ = ["ClusterWorker", "create_worker", "enqueue_batch", "worker_of"]
