"""Checkpoint and restore by CRIU, over the RPC of `criu swrk` (https://criu.org/RPC; runc: criu_linux.go).

`rpc_pb2.py` and `stats_pb2.py` are what protoc 3.21 makes of the rpc.proto (it is in Debian's libcriu-dev) and the
stats.proto that CRIU 4.2 publishes under the MIT licence: code of that age runs with python3-protobuf of Debian 12 and
with all later releases of protobuf. `messages` alone knows of them.
"""
