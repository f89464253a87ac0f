"""XEP-0202: Entity Time, of the domain.

The offset is always +00:00: nodes may stand in several time zones, and answer alike.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from xcluster.node.hooks import Feature, Request, Xep, iq
from xcluster.shared import ns


class Time(Feature):
    """`wall` tells the seconds since 1970."""

    xeps = (Xep(82, "XMPP Date and Time Profiles"), Xep(202, "Entity Time"))
    server_features = (ns.TIME,)

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall

    @iq("get", ns.TIME, "time")
    def time(self, request: Request) -> bytes:
        """Offset and UTC (§2), in the formats of XEP-0082."""
        utc = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"<time xmlns='{ns.TIME}'><tzo>+00:00</tzo><utc>{utc}</utc></time>".encode()
