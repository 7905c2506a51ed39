"""What runs a worker's queue: jobs, leases, heartbeats, time limits, delivery.

RQ's job layout is used, its loop is not. RQ's are: the names and types of the keys (``rq:queue:``,
``rq:job:``, the intermediate queue), the job's hash with its JSON data, the registration of workers
and the registry's cleaning, the signal that ends a slow engine. So RQ's own tools show queues,
jobs and workers. The farm's are: taking, leasing, finishing and re-queueing jobs
(:mod:`workers.runtime.queue`, ``shared/scripts``), because RQ's worker spends 60 commands on a job
and a fork, or 2 to 5 ms without one, where the blocks of a job take a few milliseconds; this loop
spends 4 round trips. ``tests/integration/test_queue_seams.py`` names what is touched of RQ, whose
version is pinned.
"""
