"""The product's own transition functions, on a table, a queue and a live wire in memory, stepped by a scheduler.

What is real: everything in `chatapp.flows`, the stores (`chatapp.stores`, with their conditions) and the turn's log
(`chatapp.live.events`), wired by `chatapp.services`. What is ours: the DynamoDB client (`table.py`), the queue, Redis, the
model and time (`wires.py`). Every request to one of them is a point where the scheduler chooses what happens next
(`actors.py`), so a worker may be killed, paused or overtaken between any two of its requests.
"""
