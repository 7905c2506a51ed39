"""Cluster clients that send scripts as text.

Redis-py refuses ``EVALSHA`` in a Cluster's pipelines: a node that was promoted or restarted
knows no scripts, and a pipeline cannot load them first. It accepts ``EVAL``. So here
``evalsha`` sends the text of the script in ``shared/scripts``, alone and in pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from redis.asyncio import cluster as asynchronous
from redis.cluster import ClusterNode, ClusterPipeline, RedisCluster
from redis.commands.policies import StaticPolicyResolver

from .scripts import text_of

_PATIENCE: dict[str, Any] = {"reinitialize_steps": 0, "require_full_coverage": False}
"""Only a moved slot is updated, because reading the whole map again would close all connections.
A Cluster with missing nodes is accepted, because its other nodes still serve their users."""


_TRIES = 5000
"""Keys tried in order to find one on each node: enough for a node with 1/1000 of the slots."""


class Cluster(RedisCluster):
    """A synchronous client; its constructor asks ``hosts`` in turn for the Cluster's map."""

    def __init__(self, hosts: Iterable[tuple[str, int]], **options: Any) -> None:
        nodes = [ClusterNode(host, port) for host, port in hosts]  # type: ignore[no-untyped-call]
        super().__init__(startup_nodes=nodes, policy_resolver=_Policies(), **_PATIENCE, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> ClusterPipeline:
        """Return a pipeline that accepts scripts."""
        pipe: ClusterPipeline = super().pipeline(transaction, shard_hint)  # type: ignore[no-untyped-call]
        # redis-py has no other way to set either, and does not pass its own policies on.
        pipe.__class__, pipe._policy_resolver = _Pipeline, self._policy_resolver
        return pipe

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""
        return self.execute_command("EVAL", text_of(sha), numkeys, *keys_and_args)  # type: ignore[no-untyped-call]


class _Pipeline(ClusterPipeline):
    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Add a script."""
        return self.execute_command("EVAL", text_of(sha), numkeys, *keys_and_args)  # type: ignore[no-untyped-call]


class _Policies(StaticPolicyResolver):
    """Sends ``EVAL`` to the node that has its keys.

    By default redis-py asks one node for the positions of the keys, and keeps asking that node
    after it has failed.
    """

    def resolve(self, command_name: str) -> Any:
        """Return a policy that routes ``command_name`` by its key, as for commands of modules."""
        return super().resolve("ft.suglen" if command_name == "eval" else command_name)


class AsyncCluster(asynchronous.RedisCluster):
    """An asynchronous client; its first command asks ``hosts`` for the Cluster's map."""

    def __init__(self, hosts: Iterable[tuple[str, int]], **options: Any) -> None:
        nodes = [asynchronous.ClusterNode(host, port) for host, port in hosts]
        super().__init__(startup_nodes=nodes, **_PATIENCE, **options)
        self._keys: dict[str, str] = {}

    def node_of(self, key: str) -> str | None:
        """Return the name of the node that has ``key``; None until the map is known."""
        owners = self.nodes_manager.slots_cache.get(self.keyslot(key))
        return owners[0].name if owners else None

    def key_on_each(self, make: Callable[[int], str]) -> dict[str, str]:
        """Return by node name a key on each node with slots; ``make`` turns numbers into keys."""
        nodes = {node.name for node in self.get_primaries()}
        found = {n: key for n, key in self._keys.items() if n in nodes and self.node_of(key) == n}
        for number in range(_TRIES):
            if len(found) == len(nodes):
                break
            key = make(number)
            node = self.node_of(key)
            if node in nodes:
                found.setdefault(node, key)
        self._keys = found
        return found

    def pipeline(
        self, transaction: Any | None = None, shard_hint: Any | None = None
    ) -> asynchronous.ClusterPipeline:
        """Return a pipeline that accepts scripts."""
        return _AsyncPipeline(self, transaction)  # type: ignore[abstract]

    async def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Run a script."""
        return await self.execute_command("EVAL", text_of(sha), numkeys, *keys_and_args)


class _AsyncPipeline(asynchronous.ClusterPipeline):
    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any:
        """Add a script."""
        return self.execute_command("EVAL", text_of(sha), numkeys, *keys_and_args)
