"""The negotiation of a client's stream, from its first header to the bound resource (RFC 6120 §4 to §7).

Decides what to answer and in what order things may happen. Leaves to the connection's owner what takes time
or a socket: it is told so by a step (`steps`), and reports back by a continuation.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from xml.etree import ElementTree

import msgspec

from xcluster.node.hooks import Xep
from xcluster.node.store.protocol import Account
from xcluster.node.stream import scram
from xcluster.node.stream.errors import sasl_failure, stream_error
from xcluster.node.stream.steps import (
    Authenticated,
    Bind,
    Close,
    Derive,
    Failed,
    LookUp,
    Register,
    Reply,
    StartTls,
    Step,
)
from xcluster.shared import jid, ns
from xcluster.shared.errors import AuthError, StreamError
from xcluster.shared.framing import Stanza, StreamHeader
from xcluster.shared.stanza import attribute, error_reply, escape, iq_result

XEPS = (Xep(440, "SASL Channel-Binding Type Capability"),)

_VERSION = re.compile(r"0*[1-9][0-9]*\.[0-9]+")  # 1.0 or later
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_PLAIN_HASH = "sha256"
_TLS_FAILURE = f"<failure xmlns='{ns.TLS}'/></stream:stream>".encode()
_PROCEED = f"<proceed xmlns='{ns.TLS}'/>".encode()


class Policy(msgspec.Struct, kw_only=True, gc=False):
    """What all streams of a process have in common; may be changed while it runs."""

    domain: str
    secret: bytes  # the same on all nodes, or unknown users could be told by their salts
    iterations: int = 4096  # that new accounts get
    tls: bool = True  # STARTTLS is offered
    mechanisms: tuple[str, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
    registration: bool = False
    max_attempts: int = 3  # failed log-ins on one stream
    features: bytes = b""  # further stream features after log-in: caps and the like


class Negotiation:
    """One client's negotiation. Methods may raise StreamError: answer with `stream_error` and close.

    `tls_required`: no log-in before TLS; `plain_without_tls`: PLAIN even then (tests on loopback);
    `secure`: the connection began with TLS (XEP-0368), with `binding`, its channel bindings by name.
    `random` gives that many random bytes.
    """

    def __init__(
        self,
        policy: Policy,
        random: Callable[[int], bytes],
        *,
        tls_required: bool = True,
        plain_without_tls: bool = False,
        secure: bool = False,
        binding: Mapping[str, bytes] | None = None,
    ) -> None:
        self.user = ""  # who has logged in
        self.lang: str | None = None  # of the present stream
        self.secure = secure
        self.done = False  # a resource is bound
        self._policy = policy
        self._random = random
        self._tls_required = tls_required
        self._plain_without_tls = plain_without_tls
        self._binding: Mapping[str, bytes] = binding or {}
        self._header_sent = False
        self._attempts = 0
        self._claimed = ""  # the user that the present exchange names
        self._mechanism = ""  # of the exchange that waits for its first message
        self._scram: scram.ScramServer | None = None
        self._password = ""
        self._account: Account | None = None
        self._bind_request: Stanza | None = None

    def header(self, header: StreamHeader) -> bytes:
        """The response header and the stream features."""
        self.lang = header.lang
        condition = self._objection(header)
        if condition:
            raise StreamError(condition)
        self._header_sent = True
        return self._response_header(header.from_) + self._features()

    def element(self, stanza: Stanza) -> Step:
        """What to do about a first-level element."""
        handler = _HANDLERS.get(stanza.name)
        if handler is None:
            raise StreamError("unsupported-stanza-type")
        return handler(self, stanza)

    def stream_error(self, condition: str, text: str = "") -> bytes:
        """A stream error and the end of the stream, with a header before it when none was sent."""
        header = b"" if self._header_sent else self._response_header(None)
        return stream_error(condition, text, header=header)

    # continuations

    def secured(self, binding: Mapping[str, bytes] | None = None) -> None:
        """TLS is up; `binding` has its channel bindings by name."""
        self.secure = True
        self._binding = binding or {}
        self._header_sent = False

    def looked_up(self, account: Account | None) -> Step:
        """Answers LookUp."""
        self._account = account
        exchange = self._scram
        hash_name = _PLAIN_HASH if exchange is None else exchange.hash_name
        if account is None:
            policy = self._policy
            key = scram.nobodys_key(self._claimed, policy.secret, policy.iterations, hash_name)
        else:
            key = scram.key_of(account, hash_name)
        if exchange is None:
            password, self._password = self._password, ""
            return Derive(self._claimed, password, key, hash_name)
        return Reply(_sasl("challenge", exchange.challenge(key)))

    def derived(self, ok: bool) -> Step:
        """Answers Derive: whether the password is that of the key."""
        return self._finish(b"") if ok else self.refused("not-authorized")

    def refused(self, condition: str, text: str = "") -> Failed:
        """Ends an exchange that the owner can't or won't go on with."""
        user = self._claimed
        self._forget_exchange()
        self._attempts += 1
        data = sasl_failure(condition, text)
        close = self._attempts >= self._policy.max_attempts
        if close:
            data += stream_error("policy-violation", "too many failed log-ins")
        return Failed(data, user, condition, self._attempts, close)

    def bound(self, full_jid: str) -> Reply:
        """Answers Bind: the resource is bound."""
        assert self._bind_request is not None, "only after Bind"
        self.done = True
        payload = f"<bind xmlns='{ns.BIND}'><jid>{escape(full_jid)}</jid></bind>".encode()
        return Reply(iq_result(self._bind_request, payload))

    def bind_refused(self, type: str, condition: str, text: str = "") -> Reply:
        """Answers Bind: not that resource, or not now; the client may try again."""
        assert self._bind_request is not None, "only after Bind"
        return Reply(error_reply(self._bind_request, type, condition, text))

    # headers and features

    def _objection(self, header: StreamHeader) -> str:
        """The condition of the stream error that a header deserves."""
        if header.to is not None:
            try:
                known = jid.prepare_domain(header.to) == self._policy.domain
            except jid.JidError:
                known = False
            if not known:
                return "host-unknown"
        if header.version is None or not _VERSION.fullmatch(header.version):
            return "unsupported-version"
        return ""

    def _response_header(self, to: str | None) -> bytes:
        namespaces = f" xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'"
        return b"".join(
            (
                f"<?xml version='1.0'?><stream:stream{namespaces}".encode(),
                attribute("id", self._random(12).hex()),
                attribute("from", self._policy.domain),
                attribute("to", to),
                b" version='1.0' xml:lang='en'>",
            )
        )

    def _features(self) -> bytes:
        if self.user:
            own = f"<bind xmlns='{ns.BIND}'/><session xmlns='{ns.SESSION}'><optional/></session>"
            features = own.encode() + self._policy.features
        else:
            features = (self._tls_feature() + self._sasl_features()).encode()
        return b"<stream:features>" + features + b"</stream:features>"

    def _tls_feature(self) -> str:
        if self.secure or not self._policy.tls:
            return ""
        return f"<starttls xmlns='{ns.TLS}'>{'<required/>' if self._tls_required else ''}</starttls>"

    def _sasl_features(self) -> str:
        names = self._offered()
        if not names:
            return ""
        mechanisms = "".join(f"<mechanism>{name}</mechanism>" for name in names)
        features = f"<mechanisms xmlns='{ns.SASL}'>{mechanisms}</mechanisms>"
        if self._binding:
            types = "".join(f"<channel-binding type='{name}'/>" for name in self._binding)
            features += f"<sasl-channel-binding xmlns='{ns.CHANNEL_BINDING}'>{types}</sasl-channel-binding>"
        if self._policy.registration:
            features += f"<register xmlns='{ns.REGISTER_FEATURE}'/>"
        return features

    def _offered(self) -> list[str]:
        """The names of the mechanisms that may be used now, the best first."""
        if self._tls_required and not self.secure:
            return []
        names = [name for name in self._policy.mechanisms if name != "PLAIN"]
        plus = [f"{name}-PLUS" for name in names] if self._binding else []
        plain = "PLAIN" in self._policy.mechanisms and (self.secure or self._plain_without_tls)
        return plus + names + (["PLAIN"] if plain else [])

    # elements

    def _starttls(self, stanza: Stanza) -> Step:
        if self.secure or self.user or not self._policy.tls:
            return Close(_TLS_FAILURE)
        self._forget_exchange()
        return StartTls(_PROCEED)

    def _auth(self, stanza: Stanza) -> Step:
        if self.user:
            raise StreamError("policy-violation", "logged in already")
        self._forget_exchange()
        element = ElementTree.fromstring(stanza.raw)
        mechanism = element.get("mechanism", "")
        if mechanism not in self._offered():
            known = mechanism.removesuffix("-PLUS") in self._policy.mechanisms
            return self.refused("encryption-required" if known and not self.secure else "invalid-mechanism")
        self._mechanism = mechanism
        if not element.text:
            return Reply(_sasl("challenge", b""))
        return self._payload(element.text, self._first_message)

    def _response(self, stanza: Stanza) -> Step:
        text = ElementTree.fromstring(stanza.raw).text or ""
        if self._mechanism:
            return self._payload(text, self._first_message)
        if self._scram is not None:
            return self._payload(text, self._final_message)
        return self.refused("malformed-request")

    def _abort(self, stanza: Stanza) -> Step:
        return self.refused("aborted")

    def _payload(self, text: str, read: Callable[[bytes], Step]) -> Step:
        """Decode a client's SASL message and read it."""
        try:
            if text == "=":
                return read(b"")
            if len(text) % 4 or not _BASE64.fullmatch(text):
                raise AuthError("incorrect-encoding")
            return read(b64decode(text))
        except AuthError as error:
            return self.refused(error.condition, error.text if error.text != error.condition else "")

    def _first_message(self, message: bytes) -> Step:
        mechanism, self._mechanism = self._mechanism, ""
        if mechanism == "PLAIN":
            self._claimed, self._password = self._read_plain(message)
        else:
            plus = mechanism.endswith("-PLUS")
            exchange = scram.ScramServer(
                scram.HASHES[mechanism.removesuffix("-PLUS")],
                self._policy.domain,
                plus,
                self._binding,
                b64encode(self._random(18)).decode(),
            )
            self._claimed = exchange.first(message)
            self._scram = exchange
        return LookUp(self._claimed)

    def _read_plain(self, message: bytes) -> tuple[str, str]:
        """User and password (RFC 4616)."""
        try:
            authzid, name, password = message.decode().split("\0")
        except ValueError:  # not UTF-8, or not three parts
            raise AuthError("malformed-request") from None
        if not name or not password:
            raise AuthError("malformed-request")
        user = scram.prepare_user(name)
        scram.check_authzid(authzid, user, self._policy.domain)
        return user, password

    def _final_message(self, message: bytes) -> Step:
        exchange = self._scram
        if exchange is None or not exchange.challenged:
            raise AuthError("malformed-request")
        return self._finish(exchange.final(message))

    def _finish(self, additional: bytes) -> Step:
        """The client has proved that it knows the password."""
        account = self._account
        if account is None:
            return self.refused("not-authorized")
        if account.disabled:
            return self.refused("account-disabled")
        self.user = account.user
        self._forget_exchange()
        self._header_sent = False
        return Authenticated(_sasl("success", additional), self.user)

    def _forget_exchange(self) -> None:
        self._mechanism = self._claimed = self._password = ""
        self._scram = self._account = None

    def _iq(self, stanza: Stanza) -> Step:
        if not self.user:
            allowed = self._policy.registration and (self.secure or not self._tls_required)
            if allowed and stanza.children == (f"{ns.REGISTER}}}query",) and stanza.type in ("get", "set"):
                return Register(stanza)
            return self._too_early(stanza)
        if stanza.children != (f"{ns.BIND}}}bind",):
            return self._too_early(stanza)
        if stanza.type != "set" or stanza.id is None:
            return Reply(error_reply(stanza, "modify", "bad-request"))
        resource = ElementTree.fromstring(stanza.raw).findtext(f".//{{{ns.BIND}}}resource") or ""
        try:
            self._bind_request = stanza
            return Bind(jid.prepare_resource(resource) if resource else "")
        except jid.JidError:
            return Reply(error_reply(stanza, "modify", "bad-request", "bad resourcepart"))

    def _too_early(self, stanza: Stanza) -> Step:
        """A stanza before log-in, or before a resource is bound (§4.9.3.12, §7.1)."""
        raise StreamError("not-authorized")


def _sasl(name: str, data: bytes) -> bytes:
    return f"<{name} xmlns='{ns.SASL}'>{b64encode(data).decode()}</{name}>".encode()


_HANDLERS: dict[str, Callable[[Negotiation, Stanza], Step]] = {
    f"{ns.TLS}}}starttls": Negotiation._starttls,
    f"{ns.SASL}}}auth": Negotiation._auth,
    f"{ns.SASL}}}response": Negotiation._response,
    f"{ns.SASL}}}abort": Negotiation._abort,
    "iq": Negotiation._iq,
    "message": Negotiation._too_early,
    "presence": Negotiation._too_early,
}
