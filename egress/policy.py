"""Where requests may go, judged on the resolved address at connect time."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

# Services that hand credentials to whoever asks from inside a machine or
# container: AWS, GCP, Azure, Oracle, DigitalOcean (link-local), ECS tasks,
# Alibaba, Azure's wire server, and AWS over IPv6.
METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)


class Refused(OSError):
    """The address may not be asked; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Policy:
    """`private` allows private, loopback and link-local addresses."""

    private: bool = True

    def judge(self, address: str) -> None:
        """Raise Refused if a request must not go to this IP address."""
        if objection := _objection(address, self.private):
            raise Refused(objection)


@lru_cache(maxsize=4096)
def _objection(address: str, private: bool) -> str:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # ::ffff:a.b.c.d, 64:ff9b::a.b.c.d and 2002:: all reach an IPv4 host.
        embedded = ip.ipv4_mapped or ip.sixtofour or _nat64(ip)
        if embedded is not None:
            ip = embedded
    if ip in METADATA:
        return f"{address} is a cloud metadata address"
    if not private and (not ip.is_global or ip.is_multicast):
        return f"{address} is not a public address"
    return ""


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


OPERATORS = Policy(private=True)
STRANGERS = Policy(private=False)
