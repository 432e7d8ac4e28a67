"""What the SDK raises when AWS does not answer."""

from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError

NO_ANSWER = (BotoCoreError, ResponseParserError, UnicodeDecodeError)
"""Nobody answered, or something in its place did that is not AWS: the error page of a proxy raises one of the latter two."""
