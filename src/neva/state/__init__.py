"""The application's own database: rules' states, cards, feedback, tokens, audit."""

from neva.state.accounts import ROLES, Account
from neva.state.audit import ACTIONS, Audit, AuditRow
from neva.state.audit_chain import AuditKeys, ChainFinding, Head, read_audit_keys
from neva.state.audit_events import audit_event
from neva.state.card_log import CardEntry, CardLog
from neva.state.entries import StoredEntry
from neva.state.feedback import Feedback, FeedbackEntry, FeedbackReceipt
from neva.state.jobs import Job, job_key
from neva.state.proposals import Proposal, SavedScenario
from neva.state.rule_states import RuleState, RuleStates
from neva.state.sessions import Session
from neva.state.state import State, open_state, read_state, state_named, state_of
from neva.state.tokens import Tokens
from neva.state.work_items import WorkItem, WorkItems

__all__ = [
    "ACTIONS",
    "ROLES",
    "Account",
    "Audit",
    "AuditKeys",
    "AuditRow",
    "CardEntry",
    "CardLog",
    "ChainFinding",
    "Feedback",
    "FeedbackEntry",
    "FeedbackReceipt",
    "Head",
    "Job",
    "Proposal",
    "RuleState",
    "RuleStates",
    "SavedScenario",
    "Session",
    "State",
    "StoredEntry",
    "Tokens",
    "WorkItem",
    "WorkItems",
    "audit_event",
    "job_key",
    "open_state",
    "read_audit_keys",
    "read_state",
    "state_named",
    "state_of",
]
