"""Any split of the bytes gives the same stanzas, each on the byte that ends it; expat has the last word."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from pyexpat import ExpatError, ParserCreate

import hypothesis
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcluster.shared import framing
from xcluster.shared.errors import StreamError
from xcluster.shared.framing import Event, Framer, ParserPool, Stanza

HEADER = b"<stream:stream to='d' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
END = b"</stream:stream>"
STANZAS = [
    b"<presence/>",
    b"<presence></presence>",
    b"<message to='b@d'><body>hi &amp; ]] > bye</body></message>",
    b"<iq type='get' id=\"a>b\"><q xmlns='x' a='\"/>'/></iq>",
    b"<message><body><![CDATA[<a b=\">]] > <x/> ' ]]></body></message>",
    b"<message><body><![CDATA[<?x <!-- <!DOCTYPE </ ]]></body></message>",
    b"<p:message xmlns:p='jabber:client'><p:body/></p:message >",
    "<message><body>é€😀</body><x xmlns='y' xml:lang='de'>z</x></message>".encode(),
    b"<message><delay xmlns='urn:xmpp:delay' from='d'>t</delay><x a='&lt;' />\r\n</message\n>",
]
BETWEEN = [b"", b"", b" ", b"\r\n\t"]
POOL = ParserPool()


def feed(data: bytes, cuts: list[int]) -> list[tuple[int, Event]]:
    """Events, each with the length of what had been fed when it came."""
    framer = Framer(POOL, 100_000)
    framer.feed(HEADER)
    found: list[tuple[int, Event]] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        found += [(cut, event) for event in framer.feed(data[start:cut])]
        start = cut
    return found


def check_splits(stanzas: list[bytes], gaps: list[bytes], cuts: list[int]) -> None:
    data = b"".join(gap + stanza for gap, stanza in zip(gaps, stanzas, strict=True))
    cuts = [cut for cut in cuts if cut <= len(data)]
    found = feed(data, cuts)
    assert [event.raw for _, event in found if isinstance(event, Stanza)] == stanzas, (data, cuts)
    assert [event for _, event in found] == [event for _, event in feed(data, [])], (data, cuts)
    ends = [sum(map(len, gaps[: i + 1])) + sum(map(len, stanzas[: i + 1])) for i in range(len(stanzas))]
    expected = [min(cut for cut in [*cuts, len(data)] if cut >= end) for end in ends]
    assert [cut for cut, _ in found] == expected, (data, cuts)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_split_gives_the_same_stanzas(data: st.DataObject) -> None:
    stanzas = data.draw(st.lists(st.sampled_from(STANZAS), min_size=1, max_size=4))
    gaps = data.draw(st.lists(st.sampled_from(BETWEEN), min_size=len(stanzas), max_size=len(stanzas)))
    cuts = data.draw(st.lists(st.integers(0, sum(map(len, stanzas + gaps))), max_size=12))
    check_splits(stanzas, gaps, cuts)


@pytest.mark.parametrize("stanza", STANZAS)
def test_byte_by_byte_and_in_two(stanza: bytes) -> None:
    check_splits([stanza, stanza], [b"", b" "], list(range(2 * len(stanza) + 1)))
    for cut in range(len(stanza)):
        check_splits([stanza], [b""], [cut])


def check_random_splits(seed: int, count: int) -> None:
    """The same without hypothesis, for other interpreters."""
    choose = random.Random(seed)
    for _ in range(count):
        stanzas = choose.choices(STANZAS, k=choose.randint(1, 3))
        gaps = choose.choices(BETWEEN, k=len(stanzas))
        size = sum(map(len, stanzas + gaps))
        cuts = sorted(choose.randint(0, size) for _ in range(choose.choice([1, 2, 3, 8, size])))
        check_splits(stanzas, gaps, cuts)


def defers() -> bool:
    """Whether this expat holds complete stanzas back until more bytes come."""
    data = STANZAS[2]
    for first in range(1, len(data)):
        for second in range(first, len(data)):
            parser = ParserCreate("UTF-8", "}")
            ended: list[str] = []
            parser.EndElementHandler = ended.append
            parser.Parse(b"<a>")
            for piece in (data[:first], data[first:second], data[second:]):
                parser.Parse(piece)
            if len(ended) != 2:
                return True
    return False


_SCRIPT = """
import runpy, sys
module = runpy.run_path(sys.argv[1], run_name="splits")
module["check_random_splits"](int(sys.argv[2]), 1500)
print(module["defers"]())
"""


NEWEST = Path(__file__).parents[2] / ".venv" / "expat"


def test_splits_with_the_systems_expat(tmp_path: Path) -> None:
    """Debian's python3 uses the system's libexpat, which defers reparsing since 2.5.0-1+deb12u5.

    tools/test unpacks Debian's newest into .venv/expat; where that is missing, the installed one has to do."""
    python = shutil.which("python3", path=os.defpath)
    if python is None:
        pytest.skip("there is no python3 of the system")
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, timeout=30
    )
    if version.stdout.strip() != str(sys.version_info[:2]):
        pytest.skip("the system's python3 can't load our dependencies: another version")
    (tmp_path / "xcluster").symlink_to(Path(framing.__file__).absolute().parents[1])
    libraries = {str(Path(str(module.__file__)).parents[1]) for module in (msgspec, hypothesis)}
    result = subprocess.run(
        [python, "-c", _SCRIPT, __file__, "7"],
        capture_output=True,
        text=True,
        timeout=100,
        env=dict(
            os.environ,
            PYTHONPATH=os.pathsep.join([str(tmp_path), *libraries]),
            LD_LIBRARY_PATH=os.pathsep.join(str(found.parent) for found in NEWEST.rglob("libexpat.so.1")),
        ),
    )
    assert result.returncode == 0, result.stderr
    if result.stdout.strip() != "True":
        pytest.skip("passed, but the system's expat does not defer reparsing")


MUTATIONS = b"<>/'\"=&;![]- x:?\x00\xff\n"


def mutated(choose: random.Random) -> bytes:
    data = bytearray(b"".join(choose.choices(STANZAS + BETWEEN, k=choose.randint(1, 5))))
    for _ in range(choose.randint(1, 3)):
        at = choose.randint(0, len(data))
        match choose.randrange(4):
            case 0:
                data[at : at + 1] = bytes([choose.choice(MUTATIONS)])
            case 1:
                del data[at : at + choose.randint(1, 3)]
            case 2:
                data[at:at] = bytes([choose.choice(MUTATIONS)])
            case 3:
                other = choose.randint(0, len(data))
                data[at:at] = data[other : other + 20]
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_expat_rejects_comes_out(seed: int) -> None:
    choose = random.Random(seed)
    accepted = refused = 0
    for _ in range(1000):
        data = mutated(choose)
        cuts = [choose.randint(0, len(data)) for _ in range(choose.choice([0, 0, 1, 5]))]
        events = [event for _, event in feed(data, cuts)]
        position = 0
        for event in events:
            if isinstance(event, Stanza):  # what stands before it and between is white space
                at = data.index(event.raw, position)
                assert not data[position:at].strip(), data
                position = at + len(event.raw)
                accepted += 1
        refused += any(isinstance(event, StreamError) for event in events)
        strict = ParserCreate("UTF-8", "}")
        try:
            strict.Parse(HEADER + data[:position] + END, True)
        except ExpatError as error:
            raise AssertionError(data) from error
    assert accepted > 500
    assert refused > 500
