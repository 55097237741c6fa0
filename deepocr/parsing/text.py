"""Makes text encodable as UTF-8 and as XML."""

import re

_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def encodable(text: str) -> str:
    """The text with "?" for each lone surrogate, which UTF-8 cannot encode: foreign JSON or broken
    decoding may leave one."""
    return text.encode("utf-8", "replace").decode("utf-8")


def in_xml(text: str) -> str:
    """The text without characters that XML does not allow."""
    return _NOT_IN_XML.sub("", text)
