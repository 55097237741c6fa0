"""Text that can be written down."""


def encodable(text: str) -> str:
    """With "?" for each half of a surrogate pair, which UTF-8 cannot hold: JSON from elsewhere or
    a broken decode can leave one."""
    return text.encode("utf-8", "replace").decode("utf-8")
