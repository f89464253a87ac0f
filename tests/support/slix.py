"""slixmpp clients for conversations: calls that wait, on a loop in a thread of its own.

A `Person` is an account, a `Client` one of its resources. What a client receives waits in its inbox until the
test asks for it: `hears` takes the next message, `is_pushed` the next roster push, `sees` the first presence
that fits. Each waits some seconds at most and then shows what the inbox holds.
"""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from xml.etree.ElementTree import Element, fromstring, tostring

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError

from xcluster.shared import ns
from xcluster.shared.stanza import attribute, message, presence

T = TypeVar("T")
LIMIT_S = 10.0
PLUGINS = ("xep_0012", "xep_0030", "xep_0054", "xep_0077", "xep_0092", "xep_0199")


class Refused(Exception):
    """An IQ was answered by an error; str() is its condition."""


class LoginFailed(Exception):
    """str() is the condition of the SASL failure."""


class Item(NamedTuple):
    """A roster item as a client sees it (RFC 6121 §2.1.2)."""

    jid: str
    subscription: str = "none"
    ask: bool = False
    approved: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()


class Heard(NamedTuple):
    """A message that has come."""

    from_: str
    body: str
    type: str = "normal"
    error: str = ""
    delay: str = ""  # the stamp


class Stage:
    """The loop that all clients share."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="slixmpp", daemon=True)
        self._thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for what it returns."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, LIMIT_S), self.loop).result(
            LIMIT_S + 1
        )

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def close(self) -> None:
        """End what slixmpp leaves running, or it complains of a closed loop when it is collected."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self.loop).result(LIMIT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT_S)
        self.loop.close()


class Person:
    """An account; `ports` tells the port of a node."""

    def __init__(
        self, stage: Stage, user: str, domain: str, password: str, ports: Callable[[str, str], int]
    ) -> None:
        self.user = user
        self.bare = f"{user}@{domain}"
        self.password = password
        self._stage = stage
        self._ports = ports
        self.clients: list[Client] = []

    def __str__(self) -> str:
        return self.bare

    def on(
        self, node: str, resource: str = "home", *,
        is_available: bool = True, priority: int = 0, direct_tls: bool = False, ca: Path | None = None,
    ) -> "Client":  # fmt: skip
        """Log in; with `is_available` the client also fetches its roster and sends initial presence."""
        client = Client(self._stage, self, resource)
        self.clients.append(client)
        port = self._ports(node, "c2s_tls" if direct_tls else "c2s")
        client.log_in(port, direct_tls, ca)
        if is_available:
            client.roster()
            client.is_available(priority)
            client.sees(client)  # RFC 6121 §4.2.2: a client is told of its own presence
        return client


class Client:
    """One resource of a person."""

    def __init__(self, stage: Stage, person: Person, resource: str) -> None:
        self.person = person
        self.bare = person.bare
        self.jid = f"{person.bare}/{resource}"
        self._stage = stage
        self._arrived: asyncio.Condition
        self._inbox: list[Element] = []
        self._ids = 0
        self.stream_error = ""
        self.is_connected = False
        self.slix: ClientXMPP = stage.call(self._make)

    def __str__(self) -> str:
        return self.jid

    def _make(self) -> ClientXMPP:
        self._arrived = asyncio.Condition()
        slix = ClientXMPP(self.jid, self.person.password)
        slix.auto_authorize = None
        slix.auto_subscribe = False
        for plugin in PLUGINS:
            slix.register_plugin(plugin, {"create_account": False} if plugin == "xep_0077" else {})
        slix.add_filter("in", self._received)
        slix.add_event_handler("stream_error", self._stream_failed)
        slix.add_event_handler("disconnected", self._disconnected)
        return slix

    # the stream

    def log_in(self, port: int, direct_tls: bool, ca: Path | None) -> None:
        self._stage.run(self._log_in(port, direct_tls, ca))

    async def _log_in(self, port: int, direct_tls: bool, ca: Path | None) -> None:
        slix = self.slix
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def failed(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        slix.add_event_handler("session_start", lambda event: done.done() or done.set_result(None))
        slix.add_event_handler("failed_auth", lambda event: failed(LoginFailed(event["condition"])))
        slix.add_event_handler("disconnected", lambda event: failed(LoginFailed(self.stream_error)))
        slix.enable_direct_tls, slix.enable_starttls = direct_tls, not direct_tls
        if ca is not None:
            slix.ssl_context.load_verify_locations(ca)
        slix.ssl_context.check_hostname = ca is not None
        slix.ssl_context.verify_mode = ssl.CERT_REQUIRED if ca is not None else ssl.CERT_NONE
        slix.connect("127.0.0.1", port)
        self.is_connected = True
        await done
        self.jid = str(slix.boundjid.full)

    def log_out(self) -> None:
        """End the stream in order."""
        if self.is_connected:
            self._stage.run(self._log_out())

    async def _log_out(self) -> None:
        await self.slix.disconnect()

    def is_cut(self) -> None:
        """Lose the connection without a good-bye."""
        self._stage.call(self.slix.abort)

    def is_told(self, condition: str) -> None:
        """Wait for a stream error, and for the end of the stream."""
        self._wait(lambda: self.stream_error == condition and not self.is_connected)

    def _stream_failed(self, error: Any) -> None:
        self.stream_error = str(error["condition"])
        self._changed()

    def _disconnected(self, event: Any) -> None:
        self.is_connected = False
        self._changed()

    # what comes

    def _received(self, stanza: Any) -> Any:
        if stanza.name in ("message", "presence") or (stanza.name == "iq" and stanza["type"] == "set"):
            self._inbox.append(stanza.xml)
            self._changed()
        return stanza

    def _changed(self) -> None:
        async def notify() -> None:
            async with self._arrived:
                self._arrived.notify_all()

        self._stage.loop.create_task(notify())

    def _wait(self, claim: Callable[[], T], what: str = "") -> T:
        async def wait() -> T:
            async with self._arrived:
                while not (result := claim()):
                    await self._arrived.wait()
                return result

        try:
            return self._stage.run(wait())
        except TimeoutError:
            raise AssertionError(
                f"{self.jid} waits for {what}\n{self.stream_error}\n{self._show()}"
            ) from None

    def _show(self) -> str:
        return "\n".join(tostring(element, encoding="unicode") for element in self._inbox) or "nothing came"

    def _take(self, name: str, fits: Callable[[Element], bool], what: str) -> Element:
        def found() -> list[Element]:
            ours = [element for element in self._inbox if _name(element) == name and fits(element)][:1]
            for element in ours:
                self._inbox.remove(element)
            return ours

        return self._wait(found, what)[0]

    def hears(self) -> Heard:
        """The next message."""
        xml = self._take("message", lambda element: True, "a message")
        body, delay = xml.findtext(_c("body")), xml.find(f"{{{ns.DELAY}}}delay")
        return Heard(
            xml.get("from", ""), body or "", xml.get("type", "normal"), _condition(xml),
            "" if delay is None else delay.get("stamp", ""),
        )  # fmt: skip

    def is_pushed(self) -> Item:
        """The next roster push (RFC 6121 §2.1.6)."""
        return self.is_pushed_version()[0]

    def pushes(self) -> list[Item]:
        """All roster pushes that have come by now."""
        return self._stage.call(self._pushes)

    def _pushes(self) -> list[Item]:
        came = [one for one in self._inbox if _name(one) == "iq"]
        self._inbox = [one for one in self._inbox if _name(one) != "iq"]
        return [_item(one[0][0]) for one in came]

    def is_pushed_version(self) -> tuple[Item, str]:
        """The same, with the version that it brings."""
        xml = self._take("iq", lambda iq: iq.find(f"{{{ns.ROSTER}}}query") is not None, "a roster push")
        query = xml[0]
        return _item(query[0]), query.get("ver", "")

    def sees(self, from_: object, type: str = "") -> Element:
        """Presence from a full or bare JID; `type` "" is available. Later presence of the same stays."""
        return self._take(
            "presence",
            lambda one: one.get("from", "") == str(from_) and one.get("type", "") == type,
            f"{type or 'available'} presence from {from_}",
        )

    def inbox(self) -> list[str]:
        """What nobody has asked for yet: "presence unavailable bob@d/home"."""
        return self._stage.call(
            lambda: [
                " ".join(filter(None, (_name(one), one.get("type"), one.get("from")))) for one in self._inbox
            ]
        )

    # what it sends

    def sends(self, raw: bytes | str) -> None:
        """Exactly these bytes."""
        text = raw if isinstance(raw, str) else raw.decode()
        self._stage.call(self.slix.send_raw, text)

    def says(self, to: object, body: str, type: str = "chat") -> None:
        self._ids += 1
        payload = f"<body>{body}</body>".encode()
        self.sends(message(to=str(to), type=type, id=f"m{self._ids}", payload=payload))

    def is_available(self, priority: int = 0, *, show: str = "", status: str = "", to: object = None) -> None:
        payload = f"<show>{show}</show>" if show else ""
        payload += f"<status>{status}</status>" if status else ""
        payload += f"<priority>{priority}</priority>" if priority else ""
        self.sends(presence(to=None if to is None else str(to), payload=payload.encode()))

    def is_unavailable(self, status: str = "", to: object = None) -> None:
        payload = f"<status>{status}</status>".encode() if status else b""
        self.sends(presence(to=None if to is None else str(to), type="unavailable", payload=payload))

    def asks(self, contact: object) -> None:
        """Request a subscription to the contact's presence (RFC 6121 §3.1)."""
        self.sends(presence(to=str(contact), type="subscribe"))

    def approves(self, contact: object) -> None:
        """Approve a request, or all future ones."""
        self.sends(presence(to=str(contact), type="subscribed"))

    def refuses(self, contact: object) -> None:
        """Deny a request, or cancel the contact's subscription (§3.2)."""
        self.sends(presence(to=str(contact), type="unsubscribed"))

    def leaves(self, contact: object) -> None:
        """Unsubscribe from the contact's presence (§3.3)."""
        self.sends(presence(to=str(contact), type="unsubscribe"))

    def iq(self, type: str, payload: str, to: object = None) -> Element:
        """Ask; the answer. Raises Refused."""

        async def ask() -> Element:
            iq = self.slix.make_iq(ito=None if to is None else str(to), itype=type)
            iq.append(fromstring(payload))
            answer = await iq.send(timeout=LIMIT_S)
            return answer.xml

        return self._asked(ask())

    def pings(self, other: "Client") -> bool:
        """Whether the other answers; False when its node is not known to have it."""
        try:
            self.iq("get", f"<ping xmlns='{ns.PING}'/>", other)
        except Refused:
            return False
        return True

    def plugin(self, name: str, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a slixmpp plugin and wait for its answer. Raises Refused."""

        async def ask() -> Any:
            answer = getattr(self.slix.plugin[name], method)(*arguments, **named)
            return await answer if isinstance(answer, Awaitable) else answer

        return self._asked(ask())

    def _asked(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._stage.run(work)
        except IqError as error:
            raise Refused(error.condition) from error

    # rosters

    def roster(self) -> dict[str, Item]:
        """Fetch it; this client is an interested resource from now on."""
        return self.roster_since("")[0]

    def roster_since(self, version: str) -> tuple[dict[str, Item], str]:
        """With versioning (§2.6): the items and the version; nothing but pushes follow where that is all."""
        query = f"<query xmlns='{ns.ROSTER}'{attribute('ver', version).decode()}/>"
        answer = self.iq("get", query).find(f"{{{ns.ROSTER}}}query")
        if answer is None:
            return {}, ""
        return {item.jid: item for item in map(_item, answer)}, answer.get("ver", "")

    def keeps(self, contact: object, name: str = "", groups: tuple[str, ...] = ()) -> None:
        """Add a contact, or change its name and groups (§2.3, §2.4)."""
        inner = "".join(f"<group>{group}</group>" for group in groups)
        head = attribute("jid", str(contact)) + attribute("name", name or None)
        self.iq("set", f"<query xmlns='{ns.ROSTER}'><item{head.decode()}>{inner}</item></query>")

    def removes(self, contact: object) -> None:
        """Remove a contact (§2.5)."""
        item = f"<item jid='{contact}' subscription='remove'/>"
        self.iq("set", f"<query xmlns='{ns.ROSTER}'>{item}</query>")


def _c(name: str) -> str:
    return f"{{{ns.CLIENT}}}{name}"


def _name(element: Element) -> str:
    return str(element.tag).partition("}")[2]


def _condition(element: Element) -> str:
    error = element.find(_c("error"))
    return (
        ""
        if error is None
        else next(_name(one) for one in error if one.tag.startswith(f"{{{ns.STANZA_ERRORS}"))
    )


def _item(xml: Element) -> Item:
    return Item(
        xml.get("jid", ""), xml.get("subscription", "none"), xml.get("ask") == "subscribe",
        xml.get("approved") == "true", xml.get("name", ""), tuple(group.text or "" for group in xml),
    )  # fmt: skip
