"""Text that can be written down."""

import re

_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def encodable(text: str) -> str:
    """With "?" for each half of a surrogate pair, which UTF-8 cannot hold: JSON from elsewhere or
    a broken decode can leave one."""
    return text.encode("utf-8", "replace").decode("utf-8")


def in_xml(text: str) -> str:
    """Without characters that XML cannot hold."""
    return _NOT_IN_XML.sub("", text)
