"""stand-in"""

import hmac
import re


def code(secret: bytes, call_id: str) -> str:
    return f"{int.from_bytes(hmac.digest(secret, call_id.encode(), 'sha256')[:8]) % 10**6:06d}"


def is_given(text: str, code: str) -> bool:
    return hmac.compare_digest(re.sub(r"\D", "", text).encode(), code.encode())
