"""`python -m aion_server`: the same as `aion-server`; how `dev` starts its children."""

from aion_server.app import main

main()
