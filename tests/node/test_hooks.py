"""node/hooks.py: what a feature may be, and what is refused before it can go wrong."""

import pytest

from tests.node.features.setting import Setting, get, stanza
from xcluster.node.hooks import ACCOUNT, OWN, SERVER, Feature, Request, iq, service
from xcluster.node.iqs import Iqs
from xcluster.node.session import Session
from xcluster.shared.stanza import Stanza


def test_misspelt_hook_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(TypeError, match=r"Misspelt\.sesion_ended is no hook"):

        class Misspelt(Feature):
            def sesion_ended(self, session: Session, farewell: Stanza | None) -> None:
                pass


def test_hooks_handlers_services_and_private_methods_are_not_refused() -> None:
    class Fine(Feature):
        LIMIT = 5

        def session_ended(self, session: Session, farewell: Stanza | None) -> None:
            pass

        @iq("get", "urn:x", "query")
        def answer(self, request: Request) -> bytes:
            return b""

        @service
        def used_by_others(self) -> None:
            pass

        def _private(self) -> None:
            pass

    assert Fine().stream_features() == b""


def test_every_hook_is_a_no_op_that_is_explained() -> None:
    hooks = [name for name in vars(Feature) if not name.startswith("_") and callable(getattr(Feature, name))]
    assert len(hooks) >= 8
    for name in hooks:
        assert (getattr(Feature, name).__doc__ or "").strip(), f"{name} says nothing of itself"


class Answers(Feature):
    @iq("get", "urn:x", "query", at=(SERVER, OWN))
    def one(self, request: Request) -> bytes:
        return b"<one/>"


class Clashes(Feature):
    @iq("get", "urn:x", "query", at=(ACCOUNT, OWN))
    def other(self, request: Request) -> bytes:
        return b"<other/>"


class Differs(Feature):
    @iq("set", "urn:x", "query", at=(OWN,))
    @iq("get", "urn:x", "query", at=(ACCOUNT,))
    @iq("get", "urn:x", "other", at=(OWN,))
    def other(self, request: Request) -> bytes:
        return b"<other/>"


def test_two_handlers_for_one_key_are_refused() -> None:
    with pytest.raises(TypeError, match="two handlers"):
        Iqs([Answers(), Clashes()], lambda *_: None)


def test_one_method_may_have_several_marks_and_keys_differ_by_type_payload_and_address() -> None:
    setting = Setting()
    alice = setting.bind("alice")
    iqs = Iqs([Answers(), Differs()], lambda *_: None)
    for at, raw in (
        (OWN, get("<query xmlns='urn:x'/>")),
        (ACCOUNT, get("<query xmlns='urn:x'/>")),
        (OWN, get("<other xmlns='urn:x'/>")),
    ):
        iqs.handle(alice, stanza(raw), at, "")
    written = alice.line.written  # type: ignore[attr-defined]
    assert [b"<one/>" in one for one in written] == [True, False, False]
    assert [b"<other/>" in one for one in written] == [False, True, True]


@pytest.mark.parametrize("payload", ["<query xmlns='urn:unknown'/>", "<unknown xmlns='urn:x'/>"])
def test_request_that_nobody_handles_is_answered_service_unavailable(payload: str) -> None:
    alice = Setting().bind("alice")
    Iqs([Answers()], lambda *_: None).handle(alice, stanza(get(payload)), OWN, "")
    [answer] = alice.line.written  # type: ignore[attr-defined]
    assert b"<service-unavailable" in answer and b"type='error'" in answer


class Fails(Feature):
    @iq("get", "urn:x", "query", at=(OWN,), waits=True)
    def fail(self, request: Request) -> bytes:
        raise ZeroDivisionError


def test_handler_that_fails_still_answers_once_and_lets_the_session_go_on() -> None:
    alice = Setting().bind("alice")
    calls: list[str] = []
    alice.line.hold = lambda: calls.append("hold")  # type: ignore[method-assign]
    alice.line.release = lambda: calls.append("release")  # type: ignore[method-assign]
    Iqs([Fails()], lambda function, *arguments: function(*arguments)).handle(
        alice, stanza(get("<query xmlns='urn:x'/>")), OWN, ""
    )
    [answer] = alice.line.written  # type: ignore[attr-defined]
    assert b"<internal-server-error" in answer
    assert calls == ["hold", "release"]
