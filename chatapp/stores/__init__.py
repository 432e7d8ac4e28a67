"""Adapters to DynamoDB: the truth."""
