"""A paused queue stays paused until somebody resumes it."""

from config.resources import LOCKS


def test_a_queue_is_paused_until_it_is_resumed(services):
    """For every process of the fleet, however long it takes."""
    assert services.pauses.paused("chat") is None
    since = services.pauses.pause("chat")
    assert services.pauses.paused("chat") == since
    assert services.pauses.resume("chat")
    assert services.pauses.paused("chat") is None


def test_pausing_again_and_resuming_again_change_nothing(services):
    """The time is that of the first."""
    since = services.pauses.pause("chat")
    assert services.pauses.pause("chat") == since
    assert services.pauses.resume("chat")
    assert not services.pauses.resume("chat")


def test_queues_are_paused_one_by_one(services):
    """Another queue goes on."""
    services.pauses.pause("chat")
    assert services.pauses.paused("effects") is None
    services.pauses.resume("chat")


def test_no_time_to_live_takes_a_pause_away(services):
    """The locks beside it vanish a day after their lease; a pause has no end of its own."""
    services.pauses.pause("chat")
    table, key = services.settings.table_name(LOCKS.name), {"Resource": {"S": "pause#chat"}}
    assert LOCKS.ttl not in services.dynamodb.get_item(TableName=table, Key=key)["Item"]
    services.pauses.resume("chat")
