"""XEP-0199, XEP-0092, XEP-0202: features whose answer fits in a line."""

import pytest

from tests.node.features.setting import DOMAIN, Clock, Setting, ask, canonical, get, refusal, set_
from xcluster.node.features.ping import Ping
from xcluster.node.features.time import Time
from xcluster.node.features.version import Version
from xcluster.shared import ns

PING = f"<ping xmlns='{ns.PING}'/>"
VERSION = f"<query xmlns='{ns.VERSION}'/>"
TIME = f"<time xmlns='{ns.TIME}'/>"


@pytest.mark.parametrize("to", ["", DOMAIN, f"alice@{DOMAIN}", f"bob@{DOMAIN}"])
def test_ping_is_answered_for_the_domain_and_accounts(to: str) -> None:
    setting = Setting()
    assert ask(Ping(setting.store), setting.bind("alice"), get(PING, to)) == b""


def test_ping_to_nobody_is_service_unavailable() -> None:
    setting = Setting()
    alice = setting.bind("alice")
    assert refusal(Ping(setting.store), alice, get(PING, f"nobody@{DOMAIN}")) == (
        "cancel",
        "service-unavailable",
    )


def test_version_tells_name_and_version_and_keeps_the_system_to_itself() -> None:
    alice = Setting().bind("alice")
    assert canonical(ask(Version("1.2<3"), alice, get(VERSION, DOMAIN))) == canonical(
        f"<query xmlns='{ns.VERSION}'><name>xcluster</name><version>1.2&lt;3</version></query>"
    )


@pytest.mark.parametrize(
    ("now", "utc"),
    [(0.0, "1970-01-01T00:00:00Z"), (1166551115.9, "2006-12-19T17:58:35Z")],
)
def test_time_is_told_in_utc(now: float, utc: str) -> None:
    alice = Setting().bind("alice")
    assert canonical(ask(Time(Clock(now)), alice, get(TIME, DOMAIN))) == canonical(
        f"<time xmlns='{ns.TIME}'><tzo>+00:00</tzo><utc>{utc}</utc></time>"
    )


def test_what_is_the_domains_is_not_answered_for_accounts_nor_to_sets() -> None:
    alice = Setting().bind("alice")
    for feature, payload in ((Version("1"), VERSION), (Time(Clock()), TIME)):
        for asked in (get(payload), get(payload, f"bob@{DOMAIN}"), set_(payload, DOMAIN)):
            assert refusal(feature, alice, asked) == ("cancel", "service-unavailable")
