"""The policy: which conversations are compressed, and how.

A policy is an ordered list of rules; the first matching rule applies (``docs/policy.md``).

There are two lookups. For a *conversation* (tenant, user, model), the first matching rule without
a ``tool`` sets its mode, share, markers and quota (:mod:`.ruling`). For a *tool output* in it, the
first matching rule, with or without a ``tool``, sets whether the output may be changed, by which
engines, and whether it may refer to earlier output (:mod:`.tool_rules`).
"""
