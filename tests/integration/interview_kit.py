"""Holding the scripted conversations with the interview: sessions begun as `POST /sessions` does, message after message."""

from pydantic import SecretStr

from chatapp.dev.partner_travel import CLIENT_ID, CLIENT_SECRET
from chatapp.flows.submit import Submission
from chatapp.model import ModelOptions, Status, text_part


def travelling(partners):
    """Settings of who asks the scripted travel API."""
    return {"amadeus_base_url": partners, "amadeus_client_id": CLIENT_ID, "amadeus_client_secret": SecretStr(CLIENT_SECRET)}


class Talk:
    """One conversation in a session of its own."""

    def __init__(self, services, user, conversation):
        self.services = services
        self.conversation = conversation
        self._user = user
        self._left = list(conversation.messages)
        state = {"Language": conversation.language} if conversation.language else {}
        self.job_id = self._submit((), flow="interview", state=state)
        self.session_id = self.job_id.session_id

    def _submit(self, parts, **fields):
        options = ModelOptions("scripted")
        return self.services.submit(Submission(user_id=self._user, input=parts, options=options, **fields)).job_id

    def say_next(self):
        """Send the next message. Returns: its job, None when all is said."""
        if not self._left:
            return None
        self.job_id = self._submit((text_part(self._left.pop(0)),), session_id=self.session_id)
        return self.job_id

    @property
    def turn(self):
        """The last turn."""
        return self.services.turns.get(self.job_id)

    @property
    def session(self):
        """The session as it stands."""
        return self.services.sessions.get(self.session_id)

    def check(self):
        """The profile is the expected one, the destination is there, and every turn was answered."""
        session, expected = self.session, self.conversation
        assert session.state["ProfileData"] == expected.profile, expected.name
        assert session.state["InterviewComplete"] is True
        assert session.state["CurrentQuestionIndex"] == session.state["QuestionsAvailable"] == 7
        assert session.state["QuestionsAsked"] == expected.asked, expected.name
        assert session.state["Efficiency"] == round((7 - expected.asked) / 7, 2)
        destination = session.state["RecommendedDestination"]
        assert session.summary.facts["interview_complete"] is True
        assert session.summary.facts["recommended_destination"] == {k: destination[k] for k in ("name", "iata")}
        assert session.turn_count == 1 + len(expected.messages)
        assert session.message_count == 1 + 2 * len(expected.messages)
        assert self.turn.status is Status.COMPLETED
