"""What a node can do, one module each; the list below is the order in which their hooks run.

A new one touches its own module, one line here, one conversation in tests/conversations and one line of the
changelog. What a feature may do is in node/hooks.py.
"""

from collections.abc import Sequence

from xcluster.node.features.caps import Caps
from xcluster.node.features.disco import Disco
from xcluster.node.features.keepalive import Keepalive
from xcluster.node.features.last_activity import Departures, LastActivity
from xcluster.node.features.login_limits import LoginLimits
from xcluster.node.features.offline import Offline
from xcluster.node.features.ping import Ping
from xcluster.node.features.presence import Presence
from xcluster.node.features.registration import Registration
from xcluster.node.features.roster import Roster
from xcluster.node.features.session import LegacySession
from xcluster.node.features.time import Time
from xcluster.node.features.vcard import Vcard, vcard_cache
from xcluster.node.features.version import Version
from xcluster.node.hooks import Feature

ORDER: Sequence[type[Feature]] = (
    Roster,
    Presence,
    Offline,
    LegacySession,
    Disco,
    Caps,
    Ping,
    Keepalive,
    Version,
    Time,
    LastActivity,
    Vcard,
    Registration,
    LoginLimits,
)

__all__ = [
    "ORDER",
    "Caps",
    "Departures",
    "Disco",
    "Keepalive",
    "LastActivity",
    "LegacySession",
    "LoginLimits",
    "Offline",
    "Ping",
    "Presence",
    "Registration",
    "Roster",
    "Time",
    "Vcard",
    "Version",
    "in_order",
    "vcard_cache",
]


def in_order(features: Sequence[Feature]) -> list[Feature]:
    """Built features in the order of the list; raises TypeError when one is missing or twice."""
    by_type = {type(feature): feature for feature in features}
    if set(by_type) != set(ORDER) or len(features) != len(ORDER):
        raise TypeError("node/features lists other features than were built")
    return [by_type[one] for one in ORDER]
