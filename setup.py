"""Packaging: the top-level folders install as subpackages of `xcluster`."""

from pathlib import Path

from setuptools import setup

PACKAGES = [
    "bus",
    "broker",
    "loadtest",
    "loadtest.bench",
    "node",
    "node.admin",
    "node.features",
    "node.store",
    "node.stream",
    "node.transport",
    "shared",
    "tools",
]

setup(
    name="xcluster",
    version="0.1.0.dev0",
    description="A clustered XMPP server for one domain",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    package_dir={"xcluster": "."},
    packages=[f"xcluster.{name}" for name in PACKAGES],
    package_data={"xcluster.node.store": ["migrations/*.sql"], "xcluster.loadtest.bench": ["*.c"]},
    install_requires=[
        "click>=8.1",  # the command line: help, options, exit codes
        "cryptography>=48",  # self-signed certificates, tls-server-end-point, PBKDF2 of OpenSSL 4
        "gevent>=24.2",  # the loop: io watchers without a greenlet per connection
        "idna>=3.6",  # IDNA2008 for domainparts (RFC 7622 §3.2)
        "lxml>=5.1",  # trees for the stanzas that the server itself must understand
        "msgspec>=0.18.6",  # MessagePack structs on the bus, typed configuration
        "precis-i18n>=1.1",  # RFC 8265 and 8266 profiles for localparts and resourceparts
        "prometheus-client>=0.20",  # metrics in the format that operators scrape
        "psycopg[binary]>=3.1.18",  # PostgreSQL
        "pyzmq>=25.1",  # the bus
        "rich>=13.7",  # progress bars and tables for people
    ],
    extras_require={
        "loadtest": ["locust>=2.24", "matplotlib>=3.8"],
        "test": [
            "hypothesis>=6.98",
            "pytest>=8",
            "pytest-timeout>=2.2",
            "pytest-xdist>=3.5",
            "slixmpp>=1.8.5",
        ],
        "checks": ["import-linter>=2.0", "mypy>=1.8", "ruff>=0.4"],
    },
    entry_points={"console_scripts": ["xcluster=xcluster.tools.main:main"]},
)
