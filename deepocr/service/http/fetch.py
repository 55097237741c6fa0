"""HTTP to addresses that clients name: never to private ones, whatever a name resolves to.

The name is resolved here, every address is checked, and the connection goes to the checked address
itself, so that a second answer of the name server cannot lead elsewhere. Redirects are followed by
hand under the same rule.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from deepocr.errors import DocumentTooLarge, InvalidInput

TIMEOUT_S = 30.0
TOTAL_S = 120.0
MAX_REDIRECTS = 3
MAX_URL_CHARS = 4000

Resolver = Callable[[str, int], Awaitable[list[str]]]

# networks that embed other addresses: NAT64, 6to4, and IPv4-mapped IPv6 addresses
_GATEWAYS = tuple(
    map(
        ipaddress.ip_network,
        ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", "::ffff:0:0:0/96"),
    )
)


class AddressRefused(InvalidInput):
    """The URL leads to an address that the service does not connect to."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host name. Raises AddressRefused when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"the host {host!r} is not known; check the URL") from error
    return [str(entry[4][0]) for entry in found]


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.teredo is not None or any(ip in network for network in _GATEWAYS):
            return False
    return ip.is_global and not ip.is_multicast


async def pin(
    url: str, *, trusted_hosts: frozenset[str] = frozenset(), resolver: Resolver = resolve
) -> tuple[str, str]:
    """The URL with an address in place of its host name, and the host name.

    Raises AddressRefused unless all addresses of the host are public or it is trusted.
    """
    if len(url) > MAX_URL_CHARS:
        raise AddressRefused(f"the URL has {len(url)} characters; use at most {MAX_URL_CHARS}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressRefused(f"the URL cannot be read: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise AddressRefused(f"the URL {url[:80]!r} must begin with http:// or https://")
    if parts.username or parts.password:
        raise AddressRefused("the URL holds a user name or password; leave them out")
    port = port or (443 if parts.scheme == "https" else 80)
    addresses = await resolver(host, port)
    if host.lower() not in trusted_hosts and not all(map(is_public, addresses)):
        raise AddressRefused(f"the host {host!r} has a private address; use a public one")
    address = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
    pinned = urlunsplit((parts.scheme, f"{address}:{port}", parts.path or "/", parts.query, ""))
    return pinned, host


async def download(url: str, path: Path, *, max_bytes: int, resolver: Resolver = resolve) -> int:
    """Fetch a document into a file; returns its bytes.

    Raises AddressRefused, DocumentTooLarge, or InvalidInput when the server does not give it.
    """
    try:
        async with asyncio.timeout(TOTAL_S), _client() as client:
            for _ in range(MAX_REDIRECTS + 1):
                pinned, host = await pin(url, resolver=resolver)
                request = _request(client, "GET", pinned, host, url)
                response = await client.send(request, stream=True)
                try:
                    if response.is_redirect:
                        url = urljoin(url, response.headers.get("location", ""))
                        continue
                    if response.status_code != 200:
                        raise InvalidInput(
                            f"the server at {host!r} answered {response.status_code}; check the URL"
                        )
                    return await _save(response, path, max_bytes)
                finally:
                    await response.aclose()
    except (httpx.TimeoutException, TimeoutError) as error:
        raise InvalidInput("the URL could not be fetched: its server took too long") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise InvalidInput("the URL could not be fetched: the connection failed") from error
    raise InvalidInput(f"the URL redirects more than {MAX_REDIRECTS} times; send where it leads")


async def post(url: str, body: bytes, headers: dict[str, str], trusted: frozenset[str]) -> None:
    """Send a webhook. Raises AddressRefused, or httpx.HTTPError unless the answer is a 2xx."""
    pinned, host = await pin(url, trusted_hosts=trusted)
    async with _client() as client:
        request = _request(client, "POST", pinned, host, url, content=body, headers=headers)
        # only the status matters: an endless body is never read
        response = await client.send(request, stream=True)
        await response.aclose()
        if not response.is_success:
            raise httpx.HTTPStatusError(
                f"answered {response.status_code}", request=request, response=response
            )


def _client() -> httpx.AsyncClient:
    # proxies of the environment would resolve names by themselves
    return httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False)


def _request(
    client: httpx.AsyncClient, method: str, pinned: str, host: str, url: str, **more: Any
) -> httpx.Request:
    """The name stays in Host and in TLS, where the certificate is checked against it."""
    headers = {**more.pop("headers", {}), "Host": urlsplit(url).netloc}
    return client.build_request(
        method, pinned, headers=headers, extensions={"sni_hostname": host}, **more
    )


async def _save(response: httpx.Response, path: Path, max_bytes: int) -> int:
    size = 0
    with path.open("wb") as file:
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > max_bytes:
                raise DocumentTooLarge(f"the URL's document has more than {max_bytes:,} bytes")
            file.write(piece)
    return size
