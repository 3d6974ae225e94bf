"""What a service costs, compared with a bare relay of the same bytes in the same run: `python -m tests.bench`.

Four processes: a fast fake site, the service, the relay, and the clients. Service and relay have one processor core
for themselves, take turns, and are the only processes that are measured.
"""
