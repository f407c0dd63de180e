"""The gateway: HTTP for clients on one side, topics and the owners' internal HTTP on the other.

It keeps nothing that must survive: commands go out, answers come back, and what it knows of owners and versions is read
from their topics at every start. Any number of gateways may serve one cluster.
"""
