"""A worker's queue runtime: jobs, leases, heartbeats, time limits, delivery.

RQ's job layout is used, but not its loop. From RQ come the names and types of the keys
(``rq:queue:``, ``rq:job:``, the intermediate queue), the job's hash with its JSON data, the
registry of workers and its cleaning, and the signal that ends a slow engine. So RQ's own tools
show queues, jobs and workers. The farm's own code takes, leases, finishes and re-queues jobs
(:mod:`workers.runtime.queue`, ``shared/scripts``): RQ's worker needs 60 commands per job and a
fork, or 2 to 5 ms without one, while the blocks of a job take a few milliseconds; this loop needs
4 round trips. ``tests/integration/test_queue_seams.py`` covers every part of RQ that is used; its
version is pinned.
"""
