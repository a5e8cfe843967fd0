"""What a gateway's author writes against: the gateway, its abilities, the facts it reports. Nothing here does I/O.

A gateway is one channel by one provider, one class. Its methods are handed values and return values; core does all
reading, writing, waiting and retrying. What a gateway can do is what it implements: `Webhook`, `Sender`.
"""

from .abilities import Actor, Flow, Gateway, MediaFetcher, MediaUploader, Sender, Webhook
from .capabilities import Capabilities, Fault, Limit, Menus, Outcome, Rate, Retries
from .facts import (
    AnyFact,
    Assurance,
    Consent,
    Deleted,
    Edited,
    Fact,
    Intake,
    Purpose,
    Reaction,
    Receipt,
    Received,
    Remark,
    ReplyToken,
    Seen,
    Unreadable,
)
from .outbound import Action, Attachment, Outbound, Sent, Wanted
from .settings import Account, Secret, Settings

__all__ = [
    "Account",
    "Action",
    "Actor",
    "AnyFact",
    "Assurance",
    "Attachment",
    "Capabilities",
    "Consent",
    "Deleted",
    "Edited",
    "Fact",
    "Fault",
    "Flow",
    "Gateway",
    "Intake",
    "Limit",
    "MediaFetcher",
    "MediaUploader",
    "Menus",
    "Outbound",
    "Outcome",
    "Purpose",
    "Rate",
    "Reaction",
    "Receipt",
    "Received",
    "Remark",
    "ReplyToken",
    "Retries",
    "Secret",
    "Seen",
    "Sender",
    "Sent",
    "Settings",
    "Unreadable",
    "Wanted",
    "Webhook",
]
