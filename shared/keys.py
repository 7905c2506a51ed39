"""Every Redis key and its lifetime, made in this one place.

A user's keys carry the hash tag ``{u:TAG}``: they hash to one slot, so a script may
touch several of them and Redis Cluster can spread users. ``TAG`` is a digest, because a
user's name is personal data and may hold any byte.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

PREFIX = "farm"
JOB_TTL_SECONDS = 60
"""TTL of a job that no worker takes: its request was answered long ago."""
REPLY_TTL_SECONDS = 60
WORKER_TTL_SECONDS = 5
"""A worker without a heartbeat for this long counts as dead."""
ANSWER_TTL_SECONDS = 900
"""Time in which a repeated request id means the same request."""

SENT_MAX = 4096
"""Most requests remembered for a conversation; a provider's cache expires before that many."""
TURNS_MAX = 1000
"""Turns kept per user; the oldest are dropped first."""
EXCHANGES = 1024
EXCHANGE_BYTES = 8 * 1024 * 1024
"""Most exchanges kept per session, and their bytes. Beyond them the oldest half is dropped, which
belongs to conversations that their clients have long summed up."""
OFFERED = b""
"""Stands among a session's exchanges if its requests are offered the retrieval tool."""
AGENT = b"agent"
"""Stands there if only those with many tools of their own are."""
LEFT_MAX = 10_000
"""Most messages remembered per user that have a text left verbatim because of a fault."""
TOMBSTONE_TTL_SECONDS = 7 * 86_400
"""How long after the last original a user's expired hashes are distinguished from unknown ones."""
TOMBSTONES = 10_000
"""Hashes remembered per user; the oldest are dropped first."""

SESSIONS = f"{PREFIX}:sessions"
QUEUES = "rq:queues"
"""Set: the queues that RQ's own tools show."""
BYPASS = f"{PREFIX}:bypass"
"""String, the emergency switch; absent while it is off."""
PING_TTL_SECONDS = 60


def ping(number: int) -> str:
    """String, written to test whether Redis accepts writes; there is one on each node."""
    return f"{PREFIX}:{{u:ping-{number}}}:ping"


@lru_cache(maxsize=65536)
def user_tag(user: str) -> str:
    """Return the digest that stands for ``user`` in keys and jobs (24 hex digits)."""
    return blake2b(user.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def person_of(user: str) -> str:
    """Return a user's name; for a playground's, which ends with it, that of who opened it."""
    return user.rpartition("\t")[2]


def tenant_of(user: str) -> str:
    """Return the tenant of a user's name: the part before ``/``, or the whole name without one.

    All user names that a tenant's own requests supply have that form (:mod:`api.http.auth`).
    """
    name = person_of(user)
    return name.partition("/")[0] or name


def cache(tag: str) -> str:
    """Hash, block key -> packed form: the user's session cache."""
    return f"{PREFIX}:{{u:{tag}}}:cache"


def ages(tag: str) -> str:
    """Sorted set, block key by time of last use: the order of eviction from the session cache."""
    return f"{PREFIX}:{{u:{tag}}}:ages"


def claim(tag: str, block: str) -> str:
    """String, reply lists of the front ends that claim a block: :mod:`shared.claim_protocol`."""
    return f"{PREFIX}:{{u:{tag}}}:claim:{block}"


def left(tag: str) -> str:
    """Hash, conversation chain -> numbers of the texts that a fault left without their form.

    An empty value means that these texts have been decided again and have their forms.
    """
    return f"{PREFIX}:{{u:{tag}}}:left"


def sent(tag: str, conversation: bytes) -> str:
    """Hash, chain of a request's last message -> the rules that its messages were decided by.

    ``conversation`` identifies the conversation by its beginning (16 bytes).
    """
    return f"{PREFIX}:{{u:{tag}}}:sent:{conversation.hex()}"


def turn(tag: str, turn_id: str) -> str:
    """Hash, a gateway's turn between its two halves: version, state, request body."""
    return f"{PREFIX}:{{u:{tag}}}:turn:{turn_id}"


def turns(tag: str) -> str:
    """List, this user's turns, newest first; used to limit their number."""
    return f"{PREFIX}:{{u:{tag}}}:turns"


def original(tag: str, digest: str) -> str:
    """String, one packed CCR original of this user."""
    return f"{PREFIX}:{{u:{tag}}}:original:{digest}"


def shown(tag: str) -> str:
    """Hash, an original's hash -> the policy rule, mode and such of the request that showed it."""
    return f"{PREFIX}:{{u:{tag}}}:shown"


def reads(tag: str, digest: str) -> str:
    """String, how often that original was retrieved."""
    return f"{PREFIX}:{{u:{tag}}}:reads:{digest}"


def exchanges(tag: str, session: str) -> str:
    """List, the retrievals made within the turns of one session of the proxy.

    :data:`OFFERED` and :data:`AGENT` in it record that the session was offered the retrieval tool.
    """
    name = blake2b(session.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return f"{PREFIX}:{{u:{tag}}}:exchanges:{name}"


def session(tag: str) -> str:
    """Hash, hits, misses and tokens saved by this user's session cache."""
    return f"{PREFIX}:{{u:{tag}}}:session"


FEEDBACK_PAUSES = f"{PREFIX}:feedback:pauses"
"""Hash, (scope, engine, tool) -> end of and reason for the engine's pause on that tool."""
FEEDBACK_SCOPES = f"{PREFIX}:feedback:scopes"
"""Sorted set, scope by the time something was last counted for it."""


def feedback(scope: str) -> str:
    """Hash of a scope, (engine, tool) -> number of outputs shortened and of those retrieved."""
    return f"{PREFIX}:feedback:counts:{scope}"


def tenant_quota(tenant: str) -> str:
    """Hash, a tenant's recent usage (leaky bucket), by its tag; expires once it has drained."""
    return f"{PREFIX}:{{u:{tenant}}}:quota"


def user_quota(tenant: str, tag: str) -> str:
    """Hash, a user's recent usage (leaky bucket); in the same slot as :func:`tenant_quota`."""
    return f"{PREFIX}:{{u:{tenant}}}:quota:{tag}"


def books(name: str) -> str:
    """A part of the ledger; all parts are in one slot, so one script can write them.

    Only ``answer:`` has a TTL; so Redis never evicts the others.
    """
    return f"{PREFIX}:{{books}}:{name}"


def metrics(pool: str) -> str:
    """Hash, counters of a pool's workers."""
    return f"{PREFIX}:metrics:{pool}"


def tombstones(tag: str) -> str:
    """Sorted set, hash by time it was last stored or used; it outlives the originals."""
    return f"{PREFIX}:{{u:{tag}}}:tombstones"


def load(pool: str) -> str:
    """Hash, blocks and bytes in a pool, in total and by user's tag: the input of admission."""
    return f"{PREFIX}:load:{pool}"


def jobs(pool: str) -> str:
    """Hash, job id -> user's tag, blocks, bytes, tenant's tag of a job that waits or runs."""
    return f"{PREFIX}:jobs:{pool}"


def leases(pool: str) -> str:
    """Sorted set, job id by the time its worker must have renewed it (epoch ms)."""
    return f"{PREFIX}:leases:{pool}"


def reaped(pool: str) -> str:
    """String, time of the last check for expired leases (epoch ms)."""
    return f"{PREFIX}:reaped:{pool}"


def replies(front_end: str) -> str:
    """List, the results for one front-end process."""
    return f"{PREFIX}:replies:{front_end}"


def workers(pool: str) -> str:
    """Sorted set, worker name by time of last heartbeat."""
    return f"{PREFIX}:workers:{pool}"


def worker_names(pool: str, host: str) -> str:
    """Return the prefix of the names of that host's workers, by which its health is checked."""
    return f"{pool}-{host}-"


def engine(pool: str, worker: str) -> str:
    """String, the worker's text engine; expires :data:`WORKER_TTL_SECONDS` after its heartbeat."""
    return f"{PREFIX}:engine:{pool}:{worker}"


def pace(pool: str, worker: str) -> str:
    """String, bytes of jobs the worker does per second of work; expires like :func:`engine`."""
    return f"{PREFIX}:pace:{pool}:{worker}"


def queue(pool: str) -> str:
    """List, RQ's own queue of job ids."""
    return f"rq:queue:{pool}"


def taken(pool: str) -> str:
    """List, RQ's intermediate queue: ids popped and not finished."""
    return f"rq:queue:{pool}:intermediate"


JOB_PREFIX = "rq:job:"


def job(job_id: str) -> str:
    """Hash, RQ's own job."""
    return f"{JOB_PREFIX}{job_id}"
