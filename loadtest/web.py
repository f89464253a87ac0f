"""locust's web page (I/O): start and stop a scenario there; each run's table is printed when it stops."""

from collections.abc import Callable

import gevent
from gevent.event import Event
from locust import stats
from locust.env import Environment

from xcluster.loadtest.report import Report
from xcluster.loadtest.run import SCENARIOS
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
        self._environment.events.test_start.add_listener(self._on_start)
        self._environment.events.test_stop.add_listener(self._on_stop)

    def serve(self, host: str, port: int, ready: Callable[[str], None]) -> None:
        """Until Ctrl-C."""
        page = self._environment.create_web_ui(host, port)
        # What the form offers at first; for classic the users are arrivals per second.
        self._environment.parsed_options = None
        page.update_template_args()
        page.template_args |= {
            "num_users": self._scenario.count,
            "spawn_rate": self._scenario.spawn_rate,
        }
        history = gevent.spawn(stats.stats_history, self._runner)
        ready(f"http://{host}:{port}/")
        try:
            Event().wait()
        finally:
            history.kill()
            self._runner.quit()
            page.stop()

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
