"""One agent alone: its weights, its own row, its inbox; and the mailbox between such agents."""

from gnncomm.deploy.agent import LocalAgent, LocalDecision
from gnncomm.deploy.mailbox import Inbox, Mailbox
from gnncomm.deploy.team import exchange, run_team, team_of

__all__ = ["Inbox", "LocalAgent", "LocalDecision", "Mailbox", "exchange", "run_team", "team_of"]
