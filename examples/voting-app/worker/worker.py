"""Move votes from the list in Redis to the table in PostgreSQL, one row per voter."""

import json
import signal
import sys
import time

import psycopg2
import redis

TABLE = "CREATE TABLE IF NOT EXISTS votes (voter text PRIMARY KEY, vote text NOT NULL)"
STORE = "INSERT INTO votes VALUES (%s, %s) ON CONFLICT (voter) DO UPDATE SET vote = EXCLUDED.vote"
WAIT = 5
"""Seconds that one blocking read of the list waits for a vote."""


def work() -> None:
    """Move votes until a connection fails.  A vote is removed from the list after it is stored in the table."""
    queue = redis.Redis(host="redis", socket_timeout=2 * WAIT, socket_connect_timeout=WAIT)
    database = psycopg2.connect(connect_timeout=WAIT)
    database.autocommit = True
    with database.cursor() as cursor:
        cursor.execute(TABLE)
        print("connected to redis and db", flush=True)
        for left in queue.lrange("moving", 0, -1):
            store(queue, cursor, left)
        while True:
            if moved := queue.blmove("votes", "moving", WAIT, "LEFT", "RIGHT"):
                store(queue, cursor, moved)


def store(queue: redis.Redis, cursor: psycopg2.extensions.cursor, text: bytes) -> None:
    vote = json.loads(text)
    cursor.execute(STORE, (vote["voter"], vote["vote"]))
    queue.lrem("moving", 1, text)
    print(f"stored {vote['vote']} of {vote['voter']}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while True:
        try:
            work()
        except (redis.RedisError, psycopg2.Error) as error:
            print(f"waiting: {error}".strip(), flush=True)
            time.sleep(1)
