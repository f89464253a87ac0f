"""Messages between clients (RFC 6121 §5 and §8)."""

import pytest, time

from tests.conversations.conftest import Cast
from tests.support.slix import Heard

@pytest.mark.parametrize("n",range(6))
def test_message_to_bare_jid_reaches_the_one_resource(cast: Cast,n) -> None:
    t=time.time()
    alice, bob = cast.pair()
    print("pair", time.time()-t)
    alice.says(bob.bare, "hello")
    print(bob.hears(), time.time()-t)
    bob.says(alice.jid, "hello yourself")
    print(alice.hears(), time.time()-t)
    print({k: cast.cluster.status(k)["lanes"] if "lanes" in cast.cluster.status(k) else list(cast.cluster.status(k)) for k in ("n1","n2")})
    assert 0
