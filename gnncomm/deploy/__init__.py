"""One agent alone: its weights, its own row, its inbox; and the mailbox between such agents."""

from gnncomm.deploy.agent import LocalAgent, LocalDecision
from gnncomm.deploy.mailbox import Flight, Inbox, Mailbox
from gnncomm.deploy.team import Team, exchange, run_team, speak, team_of

__all__ = [
    "Flight",
    "Inbox",
    "LocalAgent",
    "LocalDecision",
    "Mailbox",
    "Team",
    "exchange",
    "run_team",
    "speak",
    "team_of",
]
