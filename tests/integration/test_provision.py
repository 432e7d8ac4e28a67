"""Queues and tables are created once, verified always, and corrected where that can be done."""

import secrets

import pytest

from chatapp.provision import Provisioner
from config.resources import QUEUES, TABLES
from config.settings import Settings


@pytest.fixture
def provisioner(aws):
    """A provisioner of an account where nothing exists under its prefix."""
    prefix = f"p{secrets.token_hex(4)}-"
    settings = {"aws_endpoint_url": aws, "sqs_queue_url_prefix": f"{aws}/000000000000/{prefix}", "dynamodb_table_prefix": prefix}
    return Provisioner(Settings.model_validate(settings))


def test_a_check_of_an_empty_account_names_all_that_is_missing(provisioner):
    """And creates nothing."""
    problems = provisioner.problems()
    assert len(problems) == len(QUEUES) + len(TABLES)
    assert provisioner.problems() == problems


def test_applying_twice_changes_nothing_the_second_time(provisioner):
    """The first run creates all, the second has nothing to do."""
    assert provisioner.apply()
    assert provisioner.apply() == []
    assert provisioner.problems() == []


def test_a_queue_without_a_redrive_policy_is_named_and_corrected(provisioner):
    """Rejected messages would be deleted there."""
    provisioner.apply()
    url = provisioner._settings.queue_url("chat")
    provisioner._sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "no redrive policy" in provisioner.unsafe_queue("chat")
    assert provisioner.apply()
    assert provisioner.problems() == []
