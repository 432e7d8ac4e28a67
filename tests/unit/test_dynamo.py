"""How expressions and items are written."""

from chatapp.stores.dynamo import call, from_item, to_item


def test_every_attribute_name_is_aliased_and_no_keyword_is():
    """Reserved words cannot get in the way."""
    made = call(
        "t",
        values={"a": 1},
        UpdateExpression="SET Status = :a ADD OpenTurns :a",
        ConditionExpression="attribute_exists(Turn) AND NOT Due < :a",
    )
    assert made["UpdateExpression"] == "SET #Status = :a ADD #OpenTurns :a"
    assert made["ConditionExpression"] == "attribute_exists(#Turn) AND NOT #Due < :a"
    assert made["ExpressionAttributeNames"] == {f"#{n}": n for n in ("Status", "OpenTurns", "Turn", "Due")}


def test_values_with_capitals_are_no_names():
    """`:newStatus` stays as it is."""
    assert call("t", UpdateExpression="SET Status = :newStatus")["UpdateExpression"] == "SET #Status = :newStatus"


def test_an_item_is_read_as_it_was_written():
    """Numbers come back as int, or float; None and the empty set are not stored."""
    values = {"i": 7, "f": 0.25, "s": "é", "set": {1, 2}, "list": [{"k": "v"}], "flag": True}
    assert from_item(to_item(values | {"none": None, "empty": set()})) == values


def test_a_large_number_can_be_written_again():
    """DynamoDB gives 1e125 back with all its zeros; an integer of so many digits is refused."""
    assert from_item({"n": {"N": "1" + "0" * 125}, "i": {"N": "9" * 38}}) == {"n": 1e125, "i": 10**38 - 1}
    assert to_item(from_item({"n": {"N": "-1" + "0" * 120}})) == {"n": {"N": "-1E+120"}}
