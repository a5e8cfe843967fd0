"""A site in miniature: what its page, or its server, would post. No I/O."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlencode

import msgspec

from sluiceway import Answer, Request, Response, Simulator
from sluiceway.wire import FORM, JSON

from .http import KEY, SIGNATURE, TIMESTAMP, Connection, SiteForm, sign


class WebFormSimulator(Simulator[Connection, SiteForm]):
    """Signs as the retailer's server where the connection has a secret, else posts as a browser on the first origin.

    A sender with an @ is who wrote their mail address into the form, one that begins with + or 0 their phone number;
    any other is the visitor whom the server names, or a name in a browser's form.
    """

    channel = "webform"
    takes_fields = True

    def deliver(self, account: SiteForm, sender: str, text: str) -> Request:
        """`fields` are by their usual names, such as phone; one that has none is sent as it is."""
        usual = msgspec.structs.asdict(account.fields)
        fields = {self._role(sender): sender, **self.fields, "message": text, "submission_id": secrets.token_hex(16)}
        on_page = {usual.get(name, name): value for name, value in fields.items()}
        url = f"{self.hook_url}/{account.address.removeprefix('web:')}"
        if self.settings.secret is not None:
            body, timestamp = msgspec.json.encode(on_page), str(int(time.time()))
            signature = sign(self.settings.secret, timestamp, body)
            headers = {"content-type": JSON, TIMESTAMP: timestamp, SIGNATURE: signature}
            return Request(method="POST", url=url, headers=headers, body=body)
        headers = {"content-type": FORM, "accept": JSON, "origin": next(iter(account.origins), "null")}
        url = f"{url}?{urlencode({KEY: account.site_key or ''})}"
        return Request(method="POST", url=url, headers=headers, body=urlencode(on_page).encode())

    def answer(self, request: Request) -> Answer:
        """Nothing is sent to a form."""
        return Answer(Response(status=404))

    def _role(self, sender: str) -> str:
        if "@" in sender:
            return "email"
        if sender.startswith(("+", "0")):
            return "phone"
        return "name" if self.settings.secret is None else "visitor"
