"""`hookctl bundle` and `hookctl fleet`: one set of policies for many hosts, signed as The Update Framework (TUF) does.

A publisher builds bundles (`bundle`) and keeps a TUF repository of static files (`repository`, `keys`), in which the
signed target `rollout.json` says which hosts are to have which version (`rollout`). A host follows it (`follow`,
`fetcher`) and remembers how that went (`standing`); what comes back is read from Prometheus (`status`).
"""
