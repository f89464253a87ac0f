"""The folder of a local cluster, its ports, and what `up` writes into it."""

import json
import os
import socket
import stat

import pytest

from xcluster.shared.config import load
from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.tools.cluster_dir import ClusterDir
from xcluster.tools.ports import KeptPorts, port_of
from xcluster.tools.up import cluster_config, keep_shared, node_ports

GIVEN = {
    "server.domain": None,
    "store.url": None,
    "c2s.listen": ["127.0.0.1:0"],
    "c2s.listen_tls": ["127.0.0.1:0"],
}


@pytest.fixture
def ports():
    kept = KeptPorts()
    yield kept
    kept.close()


def written(folder, ports, settings=(), buses=1, config_file=None, **given):
    """The configuration that the processes of an `up` read."""
    with ClusterDir(folder) as directory:
        options = dict(GIVEN) | {key.replace("__", "."): value for key, value in given.items()}
        config = cluster_config(directory, config_file, options, settings, buses)
        keep_shared(config, ports)
        directory.write_config(config)
        yield load(directory.config_file)


def test_everything_a_node_needs_is_written(tmp_path, ports):
    for config in written(tmp_path / "c", ports, buses=2, server__domain="example.org"):
        run_dir = tmp_path / "c" / "run"
        assert config.server.domain == "example.org"
        assert config.data_dir == tmp_path / "c"
        assert config.run_dir == run_dir
        assert config.bus.endpoints == [f"ipc://{run_dir}/b1.bus", f"ipc://{run_dir}/b2.bus"]
        assert port_of(config.c2s.listen[0]) > 0
        assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "c" / "xcluster.toml").stat().st_mode) == 0o600


def test_option_lies_over_file_and_setting_over_both(tmp_path, ports):
    file = tmp_path / "own.toml"
    file.write_text('[server]\ndomain = "file.example"\n[early]\nattempts = 3\nwindow_ms = 300\n')
    for config in written(
        tmp_path / "c", ports, ["early.window_ms=800"], config_file=str(file), server__domain="option.example"
    ):
        assert config.server.domain == "option.example"
        assert (config.early.attempts, config.early.window_ms) == (3, 800)


def test_domain_and_store_stay_as_they_were(tmp_path, ports):
    for _ in written(tmp_path / "c", ports, server__domain="a.example", store__url="postgresql://u@h/d"):
        pass
    for config in written(tmp_path / "c", ports):
        assert (config.server.domain, config.store.url) == ("a.example", "postgresql://u@h/d")


def test_relative_paths_become_absolute(tmp_path, ports, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for config in written(tmp_path / "c", ports, ["tls.certificate=a.pem", "tls.key=b.pem"]):
        assert (config.tls.certificate, config.tls.key) == (f"{tmp_path}/a.pem", f"{tmp_path}/b.pem")


def test_long_folder_gets_a_short_one_for_sockets_which_goes_at_the_end(tmp_path, ports):
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    for config in written(folder, ports):
        assert len(os.fsencode(config.run_dir / "n64.sock")) <= 107
        assert not config.run_dir.is_relative_to(folder)
        assert stat.S_IMODE(config.run_dir.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(config.run_dir / "n64.sock"))
    assert not config.run_dir.exists()


def test_left_over_sockets_and_cluster_file_are_removed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "n1.json").write_text("{}")
    (tmp_path / "cluster.json").write_text("{}")
    with ClusterDir(tmp_path) as directory:
        directory.make_run_dir()
        assert list((tmp_path / "run").iterdir()) == []
        assert not (tmp_path / "cluster.json").exists()


def test_second_owner_is_refused_and_the_first_named(tmp_path):
    with ClusterDir(tmp_path), pytest.raises(XclusterError, match=f"process {os.getpid()} already runs"):
        ClusterDir(tmp_path).__enter__()
    with ClusterDir(tmp_path):
        pass


def test_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--data = .*file/c.: cannot be used"):
        ClusterDir(tmp_path / "file" / "c").__enter__()


def test_cluster_file_is_whole(tmp_path):
    with ClusterDir(tmp_path) as directory:
        directory.write_cluster("example.org", True, [{"kind": "node"}])
        assert json.loads(directory.cluster_file.read_text()) == {
            "domain": "example.org", "ready": True, "processes": [{"kind": "node"}],
        }  # fmt: skip


def test_own_ports_come_last_and_are_named(ports):
    config = load(None, ['c2s.listen=["127.0.0.1:0"]', 'c2s.listen_tls=["127.0.0.1:0"]'])
    keep_shared(config, ports)
    options, named = node_ports(config, ports, True)
    node = load(None, options[1::2])
    assert node.c2s.listen == [*config.c2s.listen, f"127.0.0.1:{named['c2s']}"]
    assert node.c2s.listen_tls == [*config.c2s.listen_tls, f"127.0.0.1:{named['c2s_tls']}"]
    other = node_ports(config, ports, True)[1]
    assert (
        len({*named.values(), *other.values(), *map(port_of, config.c2s.listen + config.c2s.listen_tls)}) == 6
    )


def test_without_own_ports_the_shared_ones_are_named(ports):
    config = load(None, ['c2s.listen=["127.0.0.1:0"]', "c2s.listen_tls=[]"])
    keep_shared(config, ports)
    assert node_ports(config, ports, False) == ([], {"c2s": port_of(config.c2s.listen[0])})


def test_kept_port_serves_its_listeners_and_nobody_else(ports):
    address = ports.keep("c2s.listen", "127.0.0.1:0")
    with socket.socket() as node, socket.socket() as client:
        node.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        node.bind(("127.0.0.1", port_of(address)))
        node.listen()
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port_of(address)), 5) as connected:
                connected.sendall(b"x")
                node.accept()[0].close()
        with pytest.raises(OSError):
            client.bind(("127.0.0.1", port_of(address)))


def test_port_that_another_cluster_shares_is_refused(ports):
    address = ports.keep("c2s.listen", "127.0.0.1:0")
    with pytest.raises(ConfigError, match=f"c2s.listen = '{address}': cannot be listened on"):
        KeptPorts().keep("c2s.listen", address)


def test_port_that_somebody_listens_on_is_refused():
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(ConfigError, match="cannot be listened on"):
            KeptPorts().keep("c2s.listen", address)


def test_ipv6_addresses_are_kept(ports):
    assert ports.keep("c2s.listen", "[::1]:0").startswith("[::1]:")


def test_short_folder_that_a_killed_one_left_is_removed_by_the_next(tmp_path, ports):
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    with ClusterDir(folder) as killed:
        config = cluster_config(killed, None, dict(GIVEN), (), 1)
        killed.write_config(config)
        killed._short = None  # it never got to its end
    assert config.run_dir.exists()
    for _ in written(folder, ports):
        assert not config.run_dir.exists()
