"""locust's web page (I/O): start and stop a scenario there; each run's table is printed when it stops."""

import signal
import sys
from argparse import Namespace
from collections.abc import Callable

import gevent
from gevent.event import Event
from locust import stats
from locust.argument_parser import default_args_dict
from locust.env import Environment

from xcluster.loadtest.report import Report
from xcluster.loadtest.run import SCENARIOS, allow_many_sockets
from xcluster.loadtest.user import Options, Scenario


class Page:
    """One page; each run from it is a scenario of its own."""

    def __init__(self, name: str, options: Options, done: Callable[[Report], None]) -> None:
        self._name = name
        self._options = options
        self._done = done
        self._environment = Environment()
        self._scenario: Scenario = SCENARIOS[name](options, self._environment)
        kind = self._scenario.user_class(options, lambda: self._scenario)
        self._environment.user_classes = [kind]
        self._runner = self._environment.create_local_runner()
        self._environment.events.test_start.add_listener(self._on_start)  # type: ignore[no-untyped-call]
        self._environment.events.test_stop.add_listener(self._on_stop)  # type: ignore[no-untyped-call]

    def serve(self, host: str, port: int, ready: Callable[[str], None]) -> None:
        """Until Ctrl-C."""
        sys.argv = sys.argv[:1]  # locust's page parses the command line, and ours is not locust's
        options = Namespace(**default_args_dict())
        options.num_users = self._scenario.count  # what its form offers; for classic: arrivals per second
        options.spawn_rate = self._scenario.spawn_rate
        self._environment.parsed_options = options
        self._environment.host = ", ".join(
            f"{place.host}:{place.port}" for place in self._options.nodes.places
        )
        page = self._environment.create_web_ui(host, port)
        history = gevent.spawn(stats.stats_history, self._runner)
        allow_many_sockets()
        stop = Event()
        handlers = [gevent.signal_handler(number, stop.set) for number in (signal.SIGINT, signal.SIGTERM)]
        ready(f"http://{host}:{port}/")
        try:
            stop.wait()
        finally:
            for handler in handlers:
                handler.cancel()
            history.kill()
            self._runner.quit()
            page.stop()  # type: ignore[no-untyped-call]

    def _on_start(self, environment: Environment, **more: object) -> None:
        self._scenario = SCENARIOS[self._name](self._options, environment)
        self._scenario.begin()

    def _on_stop(self, environment: Environment, **more: object) -> None:
        scenario = self._scenario
        scenario.end()
        gevent.spawn(self.run_finish, scenario)

    def run_finish(self, scenario: Scenario) -> None:
        scenario.finish()
        self._done(scenario.report)
