"""Who may see whose presence: the question behind XEP-0030 §8 and XEP-0012 §8."""

from xcluster.node.rosters import Rosters
from xcluster.shared import jid


def may_see(rosters: Rosters, owner: str, viewer: str) -> bool:
    """Whether the viewer is subscribed to the owner's presence; both are bare JIDs. May wait for the store.

    Nobody sees somebody who does not exist, so that an answer built on this does not tell who exists.
    """
    if owner == viewer:
        return True
    item = rosters.get(jid.parse(owner).local).item(viewer)
    return item is not None and item.subscription in ("from", "both")
