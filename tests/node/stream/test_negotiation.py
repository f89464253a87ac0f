"""Negotiations as scripts: what a client sends, what it is answered (RFC 6120 §4 to §7)."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from xcluster.node.store.protocol import Account
from xcluster.node.stream import scram
from xcluster.node.stream.errors import sasl_failure, stream_error
from xcluster.node.stream.negotiation import Negotiation, Policy
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
from xcluster.shared import ns
from xcluster.shared.errors import StreamError
from xcluster.shared.framing import Framer, ParserPool, Stanza, StreamHeader

CHANNEL = {"tls-server-end-point": b"certificate hash"}
ACCOUNT = Account(
    "user",
    scram.derive("pencil", b"s" * scram.SALT_BYTES, 10, "sha1"),
    scram.derive("pencil", b"t" * scram.SALT_BYTES, 10, "sha256"),
)
DISABLED = Account("user", ACCOUNT.sha1, ACCOUNT.sha256, disabled=True)
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


def policy(**changes: object) -> Policy:
    return Policy(**{"domain": "example.com", "secret": b"secret", "iterations": 10} | changes)  # type: ignore[arg-type]


class Client:
    """Sends bytes through a framer, as a connection would."""

    def __init__(self, negotiation: Negotiation) -> None:
        self.negotiation = negotiation
        self.framer = Framer(ParserPool(), 10_000)

    def open(self, to: str | None = "example.com", version: str | None = "1.0") -> str:
        attributes = (f" to='{to}'" if to is not None else "") + (f" version='{version}'" if version else "")
        self.framer.restart()
        (header,) = self.framer.feed(
            f"<stream:stream{attributes} from='user@example.com' xml:lang='de' xmlns='{ns.CLIENT}'"
            f" xmlns:stream='{ns.STREAMS}'>".encode()
        )
        assert isinstance(header, StreamHeader)
        return self.negotiation.header(header).decode()

    def send(self, xml: str) -> Step:
        (stanza,) = self.framer.feed(xml.encode())
        assert isinstance(stanza, Stanza)
        return self.negotiation.element(stanza)

    def auth(self, mechanism: str, message: bytes | None = None) -> Step:
        text = "" if message is None else b64encode(message).decode() or "="
        return self.send(f"<auth {SASL} mechanism='{mechanism}'>{text}</auth>")

    def response(self, message: bytes) -> Step:
        return self.send(f"<response {SASL}>{b64encode(message).decode()}</response>")

    def log_in(self) -> None:
        self.open()
        assert isinstance(self.auth("PLAIN", b"\0user\0pencil"), LookUp)
        self.negotiation.looked_up(ACCOUNT)
        assert isinstance(self.negotiation.derived(True), Authenticated)


def client(**options: object) -> Client:
    """On TLS, unless told otherwise."""
    given = options.pop("policy", policy())
    return Client(Negotiation(given, bytes, **({"secure": True} | options)))  # type: ignore[arg-type]


def features(answer: str) -> ElementTree.Element:
    return ElementTree.fromstring(answer.partition("?>")[2] + "</stream:stream>")[0]


def names(element: ElementTree.Element) -> list[str]:
    return [child.tag for child in element]


def mechanisms(answer: str) -> list[str]:
    return [str(item.text) for item in features(answer).iter(f"{{{ns.SASL}}}mechanism")]


def payload(step: Step) -> bytes:
    assert isinstance(step, Reply | Authenticated)
    return b64decode(ElementTree.fromstring(step.data).text or "")


def scram_final(first_bare: bytes, challenge: bytes, header: bytes, hash_name: str, password: str) -> bytes:
    fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
    salted = hashlib.pbkdf2_hmac(hash_name, password.encode(), b64decode(fields[b"s"]), int(fields[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    without_proof = b"c=" + b64encode(header) + b",r=" + fields[b"r"]
    signed = first_bare + b"," + challenge + b"," + without_proof
    signature = hmac.digest(hashlib.new(hash_name, client_key).digest(), signed, hash_name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return without_proof + b",p=" + b64encode(proof)


def test_whole_negotiation() -> None:
    juliet = client(secure=False)
    answer = juliet.open()
    assert names(features(answer)) == [f"{{{ns.TLS}}}starttls"]
    assert "<required/>" in answer
    assert juliet.send(STARTTLS) == StartTls(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    juliet.negotiation.secured(CHANNEL)
    offered = mechanisms(juliet.open())
    assert offered == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]

    header = b"p=tls-server-end-point,,"
    assert juliet.auth("SCRAM-SHA-256-PLUS", header + b"n=user,r=abc") == LookUp("user")
    challenge = payload(juliet.negotiation.looked_up(ACCOUNT))
    bound = header + CHANNEL["tls-server-end-point"]
    done = juliet.response(scram_final(b"n=user,r=abc", challenge, bound, "sha256", "pencil"))
    assert isinstance(done, Authenticated)
    assert (done.user, juliet.negotiation.user) == ("user", "user")
    assert payload(done).startswith(b"v=")

    after = features(juliet.open())
    assert names(after) == [
        f"{{{ns.BIND}}}bind",
        f"{{{ns.SESSION}}}session",
    ]
    bind = f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>r</resource></bind></iq>"
    assert juliet.send(bind) == Bind("r")
    assert juliet.negotiation.bound("user@example.com/r<") == Reply(
        b"<iq type='result' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        b"<jid>user@example.com/r&lt;</jid></bind></iq>"
    )
    assert juliet.negotiation.done
    assert juliet.negotiation.lang == "de"


# headers


def test_response_header() -> None:
    answer = client().open()
    assert answer.startswith(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f" id='{'00' * 12}' from='example.com' to='user@example.com' version='1.0' xml:lang='en'>"
    )


@pytest.mark.parametrize("to", [None, "example.com", "EXAMPLE.com", "example.com."])
def test_header_for_us(to: str | None) -> None:
    assert "<stream:features>" in client().open(to)


@pytest.mark.parametrize(
    ("to", "version", "condition"),
    [
        ("example.org", "1.0", "host-unknown"),
        ("user@example.com", "1.0", "host-unknown"),
        ("", "1.0", "host-unknown"),
        ("example.com", None, "unsupported-version"),
        ("example.com", "0.9", "unsupported-version"),
        ("example.com", "1", "unsupported-version"),
        ("example.com", "x", "unsupported-version"),
    ],
)
def test_header_is_refused_with_a_header(to: str, version: str | None, condition: str) -> None:
    romeo = client()
    with pytest.raises(StreamError) as caught:
        romeo.open(to, version)
    assert caught.value.condition == condition
    answer = romeo.negotiation.stream_error(condition).decode()
    assert answer.startswith("<?xml version='1.0'?><stream:stream ")
    error = ElementTree.fromstring(answer.partition("?>")[2])[0]
    assert names(error) == [f"{{{ns.STREAM_ERRORS}}}{condition}"]


@pytest.mark.parametrize("version", ["1.0", "1.1", "01.00", "2.0", "12.3"])
def test_later_versions_are_answered_with_ours(version: str) -> None:
    assert " version='1.0'" in client().open(version=version)


def test_stream_error_has_a_header_only_when_none_was_sent() -> None:
    romeo = client(secure=False)
    assert romeo.negotiation.stream_error("not-well-formed").startswith(b"<?xml")
    romeo.open()
    assert romeo.negotiation.stream_error("not-well-formed").startswith(b"<stream:error>")
    romeo.send(STARTTLS)
    romeo.negotiation.secured()
    assert romeo.negotiation.stream_error("not-well-formed").startswith(b"<?xml")
    romeo.log_in()
    assert romeo.negotiation.stream_error("not-well-formed").startswith(b"<?xml")


# features


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        ({}, ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]),
        ({"secure": False}, []),
        ({"secure": False, "tls_required": False}, ["SCRAM-SHA-256", "SCRAM-SHA-1"]),
        (
            {"secure": False, "tls_required": False, "plain_without_tls": True},
            ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"],
        ),
        ({"policy": policy(mechanisms=("PLAIN",)), "binding": CHANNEL}, ["PLAIN"]),
        (
            {"policy": policy(mechanisms=("SCRAM-SHA-1",)), "binding": CHANNEL},
            ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"],
        ),
    ],
)
def test_mechanisms(options: dict[str, object], offered: list[str]) -> None:
    assert mechanisms(client(**options).open()) == offered


def test_channel_binding_types_are_announced_with_tls() -> None:
    element = features(client(binding=CHANNEL).open()).find(f"{{{ns.CHANNEL_BINDING}}}sasl-channel-binding")
    assert element is not None
    assert [child.get("type") for child in element] == ["tls-server-end-point"]
    assert ns.CHANNEL_BINDING not in client().open()


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        ({"secure": False}, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"),
        (
            {"secure": False, "tls_required": False},
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'></starttls>",
        ),
    ],
)
def test_starttls_feature(options: dict[str, object], feature: str) -> None:
    assert feature in client(**options).open()
    assert feature not in client().open()
    assert feature not in client(**options, policy=policy(tls=False)).open()


def test_registration_is_offered_where_log_in_is() -> None:
    register = "<register xmlns='http://jabber.org/features/iq-register'/>"
    assert register in client(policy=policy(registration=True)).open()
    assert register not in client().open()
    assert register not in client(policy=policy(registration=True), secure=False).open()


def test_features_after_log_in() -> None:
    juliet = client(
        policy=policy(registration=True, features=b"<c xmlns='http://jabber.org/protocol/caps'/>")
    )
    juliet.log_in()
    after = names(features(juliet.open()))
    assert after == [f"{{{ns.BIND}}}bind", f"{{{ns.SESSION}}}session", f"{{{ns.CAPS}}}c"]


# TLS


@pytest.mark.parametrize("options", [{}, {"secure": False, "policy": policy(tls=False)}])
def test_starttls_that_is_not_offered(options: dict[str, object]) -> None:
    juliet = client(**options)
    juliet.open()
    assert juliet.send(STARTTLS) == Close(
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
    )


# SASL


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
@pytest.mark.parametrize("initial", [True, False])
def test_scram(mechanism: str, initial: bool) -> None:
    juliet = client()
    juliet.open()
    first = b"n=User,r=abc"
    if initial:
        step = juliet.auth(mechanism, b"n,," + first)
    else:
        assert payload(juliet.auth(mechanism)) == b""
        step = juliet.response(b"n,," + first)
    assert step == LookUp("user")
    challenge = payload(juliet.negotiation.looked_up(ACCOUNT))
    hash_name = scram.HASHES[mechanism]
    done = juliet.response(scram_final(first, challenge, b"n,,", hash_name, "pencil"))
    assert isinstance(done, Authenticated)
    key = scram.key_of(ACCOUNT, hash_name)
    assert len(payload(done)) == 2 + len(b64encode(key.server_key))


def test_plain() -> None:
    juliet = client()
    juliet.open()
    assert juliet.auth("PLAIN", b"user@example.com\0User\0pencil") == LookUp("user")
    derive = juliet.negotiation.looked_up(ACCOUNT)
    assert derive == Derive("user", "pencil", ACCOUNT.sha256, "sha256")
    assert isinstance(derive, Derive)
    assert scram.matches(derive.password, derive.key, derive.hash_name)
    assert juliet.negotiation.derived(True) == Authenticated(
        b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'></success>", "user"
    )


@pytest.mark.parametrize(("account", "password"), [(ACCOUNT, "wrong"), (None, "pencil"), (DISABLED, "wrong")])
def test_plain_and_scram_do_not_tell_who_exists(account: Account | None, password: str) -> None:
    romeo = client()
    romeo.open()
    romeo.auth("PLAIN", b"\0user\0" + password.encode())
    derive = romeo.negotiation.looked_up(account)
    assert isinstance(derive, Derive)
    assert (derive.key.iterations, len(derive.key.salt)) == (10, scram.SALT_BYTES)
    assert not scram.matches(derive.password, derive.key, derive.hash_name)
    failure = sasl_failure("not-authorized")
    assert romeo.negotiation.derived(False) == Failed(failure, "user", "not-authorized", 1, False)

    romeo.auth("SCRAM-SHA-1", b"n,,n=user,r=abc")
    challenge = payload(romeo.negotiation.looked_up(account))
    final = scram_final(b"n=user,r=abc", challenge, b"n,,", "sha1", password)
    assert romeo.response(final) == Failed(failure, "user", "not-authorized", 2, False)
    assert romeo.negotiation.user == ""


def test_a_key_that_nobody_has_opens_nothing() -> None:
    romeo = client()
    romeo.open()
    romeo.auth("PLAIN", b"\0nobody\0pencil")
    romeo.negotiation.looked_up(None)
    assert isinstance(romeo.negotiation.derived(True), Failed)


def test_disabled_account_is_told_so_when_the_password_is_right() -> None:
    romeo = client()
    romeo.open()
    romeo.auth("SCRAM-SHA-1", b"n,,n=user,r=abc")
    challenge = payload(romeo.negotiation.looked_up(DISABLED))
    failed = romeo.response(scram_final(b"n=user,r=abc", challenge, b"n,,", "sha1", "pencil"))
    assert isinstance(failed, Failed)
    assert failed.condition == "account-disabled"


def test_the_owner_may_refuse() -> None:
    romeo = client()
    romeo.open()
    romeo.auth("PLAIN", b"\0user\0pencil")
    assert romeo.negotiation.refused("temporary-auth-failure", "busy") == Failed(
        b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/>"
        b"<text xml:lang='en'>busy</text></failure>",
        "user",
        "temporary-auth-failure",
        1,
        False,
    )


@pytest.mark.parametrize(
    ("xml", "condition"),
    [
        (f"<auth {SASL} mechanism='PLAIN'>*</auth>", "incorrect-encoding"),
        (f"<auth {SASL} mechanism='PLAIN'>AAA</auth>", "incorrect-encoding"),
        (f"<auth {SASL} mechanism='PLAIN'>A=AA</auth>", "incorrect-encoding"),
        (f"<auth {SASL} mechanism='PLAIN'> AAAA</auth>", "incorrect-encoding"),
        (f"<auth {SASL} mechanism='PLAIN'>=</auth>", "malformed-request"),
        (f"<auth {SASL} mechanism='PLAIN'>AAAA</auth>", "malformed-request"),  # three times NUL
        (f"<auth {SASL} mechanism='PLAIN'>/w==</auth>", "malformed-request"),
        (f"<auth {SASL} mechanism='SCRAM-SHA-1'>AAAA</auth>", "malformed-request"),
        (f"<auth {SASL} mechanism='SCRAM-SHA-1-PLUS'>AAAA</auth>", "invalid-mechanism"),
        (f"<auth {SASL} mechanism='GSSAPI'/>", "invalid-mechanism"),
        (f"<auth {SASL} mechanism='plain'/>", "invalid-mechanism"),
        (f"<auth {SASL}/>", "invalid-mechanism"),
        (f"<response {SASL}>AAAA</response>", "malformed-request"),
        (f"<response {SASL}/>", "malformed-request"),
        (f"<abort {SASL}/>", "aborted"),
    ],
)
def test_sasl_failures(xml: str, condition: str) -> None:
    romeo = client()
    romeo.open()
    assert romeo.send(xml) == Failed(sasl_failure(condition), "", condition, 1, False)


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"\0user\0", "malformed-request"),
        (b"\0\0pencil", "malformed-request"),
        (b"user\0pencil", "malformed-request"),
        (b"\0user\0pen\0cil", "malformed-request"),
        (b"\0us er\0pencil", "not-authorized"),
        (b"admin@example.com\0user\0pencil", "invalid-authzid"),
        (b"user@example.org\0user\0pencil", "invalid-authzid"),
        (b"user\0user\0pencil", "invalid-authzid"),
    ],
)
def test_plain_messages_that_are_refused(message: bytes, condition: str) -> None:
    romeo = client()
    romeo.open()
    failed = romeo.auth("PLAIN", message)
    assert isinstance(failed, Failed)
    assert failed.condition == condition


@pytest.mark.parametrize(
    ("mechanism", "options", "condition"),
    [
        ("PLAIN", {}, "encryption-required"),
        ("SCRAM-SHA-1", {}, "encryption-required"),
        ("SCRAM-SHA-1-PLUS", {}, "encryption-required"),
        ("GSSAPI", {}, "invalid-mechanism"),
        ("PLAIN", {"tls_required": False}, "encryption-required"),
    ],
)
def test_log_in_before_tls(mechanism: str, options: dict[str, object], condition: str) -> None:
    romeo = client(secure=False, **options)
    romeo.open()
    failed = romeo.auth(mechanism, b"\0user\0pencil")
    assert isinstance(failed, Failed)
    assert failed.condition == condition


def test_an_aborted_exchange_is_over() -> None:
    romeo = client()
    romeo.open()
    romeo.auth("SCRAM-SHA-1", b"n,,n=user,r=abc")
    challenge = payload(romeo.negotiation.looked_up(ACCOUNT))
    romeo.send(f"<abort {SASL}/>")
    failed = romeo.response(scram_final(b"n=user,r=abc", challenge, b"n,,", "sha1", "pencil"))
    assert isinstance(failed, Failed)
    assert failed.condition == "malformed-request"


def test_third_failure_ends_the_stream() -> None:
    romeo = client()
    romeo.open()
    steps = [romeo.send(f"<abort {SASL}/>") for _ in range(3)]
    assert [step.close for step in steps if isinstance(step, Failed)] == [False, False, True]
    assert steps[2] == Failed(
        sasl_failure("aborted") + stream_error("policy-violation", "too many failed log-ins"),
        "",
        "aborted",
        3,
        True,
    )


def test_failures_count_over_restarts() -> None:
    romeo = client(policy=policy(max_attempts=2))
    romeo.open()
    romeo.send(f"<abort {SASL}/>")
    romeo.open()
    failed = romeo.send(f"<abort {SASL}/>")
    assert isinstance(failed, Failed)
    assert failed.close


# what comes too early, and what never belongs here

IQ = "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>"
BIND = "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
REGISTER = "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"


@pytest.mark.parametrize(
    ("xml", "condition"),
    [
        ("<message to='a@example.com'/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        (IQ, "not-authorized"),
        (BIND, "not-authorized"),
        (REGISTER, "not-authorized"),
        ("<foo/>", "unsupported-stanza-type"),
        ("<message xmlns='jabber:server'/>", "unsupported-stanza-type"),
        ("<auth mechanism='PLAIN'/>", "unsupported-stanza-type"),
    ],
)
def test_before_log_in(xml: str, condition: str) -> None:
    romeo = client()
    romeo.open()
    with pytest.raises(StreamError) as caught:
        romeo.send(xml)
    assert caught.value.condition == condition


@pytest.mark.parametrize(
    ("xml", "condition"),
    [
        ("<message to='a@example.com'/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        (IQ, "not-authorized"),
        (REGISTER, "not-authorized"),
        ("<foo/>", "unsupported-stanza-type"),
        (f"<auth {SASL} mechanism='PLAIN'/>", "policy-violation"),
    ],
)
def test_before_binding(xml: str, condition: str) -> None:
    juliet = client(policy=policy(registration=True))
    juliet.log_in()
    juliet.open()
    with pytest.raises(StreamError) as caught:
        juliet.send(xml)
    assert caught.value.condition == condition


def test_registration_is_the_owners() -> None:
    romeo = client(policy=policy(registration=True))
    romeo.open()
    step = romeo.send(REGISTER)
    assert isinstance(step, Register)
    assert step.stanza.raw == REGISTER.encode()
    mercutio = client(policy=policy(registration=True), secure=False)
    mercutio.open()
    with pytest.raises(StreamError):
        mercutio.send(REGISTER)


# resource binding


@pytest.mark.parametrize(
    ("resource", "prepared"),
    [
        ("", ""),
        ("<resource/>", ""),
        ("<resource>balcony</resource>", "balcony"),
        ("<resource>a&amp;b</resource>", "a&b"),
        ("<resource>e\u0301</resource>", "\xe9"),
    ],
)
def test_bind(resource: str, prepared: str) -> None:
    juliet = client()
    juliet.log_in()
    juliet.open()
    xml = f"<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{resource}</bind></iq>"
    assert juliet.send(xml) == Bind(prepared)


@pytest.mark.parametrize(
    "xml",
    [
        BIND.replace("set", "get"),
        BIND.replace(" id='1'", ""),
        BIND.replace("'/></iq>", "'><resource>\x7f</resource></bind></iq>"),
        BIND.replace("'/></iq>", f"'><resource>{'x' * 1024}</resource></bind></iq>"),
    ],
)
def test_bad_bind(xml: str) -> None:
    juliet = client()
    juliet.log_in()
    juliet.open()
    step = juliet.send(xml)
    assert isinstance(step, Reply)
    assert b"<bad-request " in step.data
    assert juliet.send(BIND) == Bind("")


@pytest.mark.parametrize(
    ("type", "condition"),
    [("cancel", "conflict"), ("wait", "resource-constraint"), ("modify", "bad-request")],
)
def test_bind_that_the_owner_refuses(type: str, condition: str) -> None:
    juliet = client()
    juliet.log_in()
    juliet.open()
    juliet.send(BIND)
    reply = juliet.negotiation.bind_refused(type, condition)
    element = ElementTree.fromstring(reply.data)
    assert (element.get("type"), element.get("id")) == ("error", "1")
    error = element.find("error")
    assert error is not None
    assert (error.get("type"), names(error)) == (type, [f"{{{ns.STANZA_ERRORS}}}{condition}"])
    assert not juliet.negotiation.done
    assert juliet.send(BIND) == Bind("")


# bytes


@pytest.mark.parametrize(
    ("build", "bytes_"),
    [
        (
            lambda: stream_error("conflict"),
            b"<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'></conflict></stream:error>"
            b"</stream:stream>",
        ),
        (
            lambda: stream_error("see-other-host", "mo<ve", content="[2001:db8::1]:5222", header=b"<h>"),
            b"<h><stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>[2001:db8::1]:5222"
            b"</see-other-host>"
            b"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>mo&lt;ve</text>"
            b"</stream:error></stream:stream>",
        ),
    ],
)
def test_stream_errors(build: Callable[[], bytes], bytes_: bytes) -> None:
    assert build() == bytes_
