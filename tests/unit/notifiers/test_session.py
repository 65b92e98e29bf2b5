"""Where requests go, what secures them, and what is read of the answer."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import zlib
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from notifiers.base import HostSettings, Notifier, RetryableError
from notifiers.session import OneRequestSession
from tests.unit.notifiers.host import CREATED, Answer, Host
from tests.unit.notifiers.scene import TOKEN, URL, Connect, status, token_of


@pytest.fixture
def kind(sender: type[Notifier]) -> type[Notifier]:
    """One for each way of sending."""
    return sender


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    file.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return file


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_with_the_hosts_own_ca(connect: Connect, kind: type[Notifier], certificate: Path) -> None:
    async with Host(tls=serving(certificate)) as secure:
        notifier = connect(kind, url=secure.url, ca_file=certificate)
        await notifier.deliver(status())
        await notifier.deliver(status())
        assert (len(secure.asked), secure.connections) == (2, 1)
        await notifier.close()


async def test_the_environments_bundle_counts_where_the_host_has_none(
    connect: Connect, kind: type[Notifier], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    async with Host(tls=serving(certificate)) as secure:
        notifier = connect(kind, url=secure.url)
        await notifier.deliver(status())
        await notifier.close()
        assert len(secure.asked) == 1


async def test_an_unknown_certificate_is_not_accepted(
    connect: Connect, kind: type[Notifier], certificate: Path
) -> None:
    async with Host(tls=serving(certificate)) as secure:
        with pytest.raises(
            RetryableError, match=r"localhost:\d+: its certificate is not accepted \(self.signed.*ca_file"
        ):
            await connect(kind, url=secure.url).deliver(status())
        assert not secure.asked


async def test_tls_to_a_port_that_speaks_none(connect: Connect, kind: type[Notifier]) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(RetryableError, match=r"TLS does not work \(.*\); is the url right\?"):
            await connect(kind, url=url).deliver(status())


async def test_a_drip_over_tls_ends_too(connect: Connect, kind: type[Notifier], certificate: Path) -> None:
    async with Host(tls=serving(certificate)) as secure:
        secure.script.append(Answer(200, how="drip"))
        notifier = connect(kind, url=secure.url, ca_file=certificate, threads=1, request_timeout=0.3)
        with pytest.raises(RetryableError, match="no complete answer"):
            await notifier.deliver(status())
        await notifier.deliver(status())
        await notifier.close()


@pytest.mark.parametrize("content", [None, "", "not a certificate"])
def test_a_ca_file_that_cannot_work_is_told_at_the_start(
    kind: type[Notifier], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=f"ca_file {file}: "):
        kind(HostSettings(name="x", url=URL, token=TOKEN, ca_file=file))


def test_a_bundle_of_the_environment_that_cannot_work_is_told_at_the_start(
    kind: type[Notifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(ValueError, match=r"CURL_CA_BUNDLE .*No such file"):
        kind(HostSettings(name="x", url=URL, token=TOKEN))


@pytest.mark.parametrize(
    "url",
    ["git.example.com", "ftp://git.example.com", "https://", "https://u:p@git.example.com", "https://x/?a=b", "https://x/#a",
     "http://[::1", "https://x:port/"],
)  # fmt: skip
def test_a_url_that_cannot_work_is_told_at_the_start(kind: type[Notifier], url: str) -> None:
    with pytest.raises(ValueError, match="url") as raised:
        kind(HostSettings(name="x", url=url, token=TOKEN))
    assert ":p@" not in str(raised.value)


async def test_a_proxy_of_the_environment_is_used(
    connect: Connect, kind: type[Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await connect(kind, url="http://git.example.com").deliver(status())
        assert proxy.last.path.startswith("http://git.example.com/")


async def test_no_proxy_is_obeyed(
    host: Host, connect: Connect, kind: type[Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Host() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "localhost")
        await connect(kind).deliver(status())
        assert (proxy.connections, len(host.asked)) == (0, 1)


async def test_a_broken_proxy_is_named_as_what_is_broken_without_its_password(
    connect: Connect, kind: type[Notifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://user:proxy-password@localhost:9")
    with pytest.raises(RetryableError, match="the proxy from the environment") as raised:
        await connect(kind, url="https://git.example.com").deliver(status())
    assert "proxy-password" not in str(raised.value)


async def test_a_netrc_does_not_replace_the_token(
    host: Host, connect: Connect, kind: type[Notifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await connect(kind).deliver(status())
    assert token_of(host.last) == TOKEN


async def test_cookies_are_not_kept(host: Host, notifier: Notifier) -> None:
    host.default = Answer(headers={"Set-Cookie": "_session=1; Path=/"})
    await notifier.deliver(status())
    await notifier.deliver(status())
    assert "cookie" not in host.last.headers


async def test_a_compressed_answer_is_read(host: Host, notifier: Notifier) -> None:
    packer = zlib.compressobj(wbits=31)
    body = packer.compress(str(CREATED).replace("'", '"').encode()) + packer.flush()
    host.default = Answer(200, body, {"Content-Encoding": "gzip", "Content-Type": "application/json"})
    await notifier.deliver(status())


async def test_an_answer_that_unpacks_to_much_more_is_not_read_to_its_end(host: Host, notifier: Notifier) -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b" " * (64 << 20)) + packer.flush()
    host.default = Answer(200, bomb, {"Content-Encoding": "gzip"})
    with pytest.raises(RetryableError, match="no end that is worth waiting for"):
        await notifier.deliver(status())
    host.default = Answer()
    await asyncio.gather(*(notifier.deliver(status()) for _ in range(8)))


async def test_a_session_that_was_cut_off_makes_no_request_until_it_is_given_out_again(host: Host) -> None:
    session = OneRequestSession(host.url, timeout=5.0)
    session.abort()
    with pytest.raises(requests.exceptions.Timeout):
        await asyncio.to_thread(session.get, host.url)
    assert not host.asked
    session.rearm()
    await asyncio.to_thread(session.get, host.url)
    session.close()
    assert len(host.asked) == 1
