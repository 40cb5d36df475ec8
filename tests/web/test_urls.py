"""Which base the URLs in answers get, and whom that is taken from."""

import pytest

from rotoscope.errors import OperatorError
from rotoscope.web.urls import parse_proxies
from tests.web.conftest import BODY, SUBMIT, OpenSite, Site

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "videos.example.org"}


def base(site: Site, headers: dict[str, str]) -> str:
    answer = site.http.post(SUBMIT, json=BODY, headers=site.client | headers)
    return str(answer.json()["status_url"]).partition("/v1/")[0]


def test_the_base_is_that_of_the_request(site: Site) -> None:
    """A client gets URLs under the name it called."""
    assert base(site, {}) == "http://testserver"
    assert base(site, {"Host": "gpu.lan:8000"}) == "http://gpu.lan:8000"


def test_strangers_forward_nothing(site: Site) -> None:
    """Forwarded headers are not believed unless their sender is trusted."""
    assert base(site, FORWARDED) == "http://testserver"


def test_a_trusted_proxy_is_believed(open_site: OpenSite) -> None:
    """The proxy's scheme and host are used when it is on the operator's list."""
    site = open_site(trusted_proxies=("192.0.2.0/24",))
    assert base(site, FORWARDED) == "https://videos.example.org"
    assert base(site, {}) == "http://testserver"


def test_the_nearest_proxy_has_the_last_word(open_site: OpenSite) -> None:
    """What a client put before the proxy's own value is not used."""
    site = open_site(trusted_proxies=("192.0.2.7",))
    forwarded = {"X-Forwarded-Host": "evil.example, videos.example.org"}
    assert base(site, forwarded) == "http://videos.example.org"


@pytest.mark.parametrize("host", ["evil.example/path", "a b", "<script>", "user@host", ""])
def test_odd_hosts_are_not_repeated(open_site: OpenSite, host: str) -> None:
    """What is no host name leads to the server's own address."""
    site = open_site(trusted_proxies=("192.0.2.7",))
    assert base(site, {"Host": host}).startswith("http://testserver")


def test_the_operators_base_wins(open_site: OpenSite) -> None:
    """With public_url set, neither host nor proxy matters."""
    site = open_site(public_url="https://api.example.org/", trusted_proxies=("192.0.2.7",))
    assert base(site, FORWARDED) == "https://api.example.org"


def test_a_wrong_proxy_list_is_the_operators_to_mend() -> None:
    """An entry that is no address is told with one that would be right."""
    with pytest.raises(OperatorError, match=r"trusted_proxies: .*such as 10\.0\.0\.0/8"):
        parse_proxies(["proxy.lan"])
