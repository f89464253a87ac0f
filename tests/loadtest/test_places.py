import json

import pytest

from xcluster.loadtest.nodes import Place, parse_places, read_cluster
from xcluster.shared.errors import ConfigError


def test_places_are_numbered_in_order():
    assert parse_places("127.0.0.1:5222, [::1]:5223") == [
        Place("node1", "127.0.0.1", 5222),
        Place("node2", "::1", 5223),
    ]


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:http", "a:1,,b:2"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError):
        parse_places(text)


@pytest.mark.parametrize(("tls", "port"), [("none", 7001), ("starttls", 7001), ("direct", 7002)])
def test_cluster_file_names_each_nodes_own_port(tmp_path, tls, port):
    processes = [
        {"kind": "bus", "name": "bus1", "pid": 1, "ports": {}},
        {"kind": "node", "name": "n1", "pid": 2, "ports": {"c2s": 7001, "c2s_tls": 7002}},
    ]
    (tmp_path / "cluster.json").write_text(json.dumps({"domain": "x", "processes": processes}))
    nodes = read_cluster(tmp_path, tls)
    assert (nodes.domain, nodes.tls, nodes.places) == ("x", tls, [Place("n1", "127.0.0.1", port)])


def test_cluster_without_own_ports_is_refused(tmp_path):
    processes = [{"kind": "node", "name": "n1", "pid": 2, "ports": {}}]
    (tmp_path / "cluster.json").write_text(json.dumps({"domain": "x", "processes": processes}))
    with pytest.raises(ConfigError, match="own-ports"):
        read_cluster(tmp_path, "none")
    with pytest.raises(ConfigError, match="holds no"):
        read_cluster(tmp_path / "none", "none")
