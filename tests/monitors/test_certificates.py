"""When certificates end: seen by real checks over real TLS."""

import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alerting.models import Alert
from egress import transfers
from monitors.models import Certificate, MonitorState

ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=20)


def issued(ends):
    """A certificate of 127.0.0.1 that is its own authority, with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(ends)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, private + pem


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args): ...


@pytest.fixture
def secure_shop(tmp_path, monkeypatch):
    """A web server with TLS; call it with when its certificate ends."""
    pem, both = issued(ENDS)
    (tmp_path / "authority.pem").write_bytes(pem)
    (tmp_path / "server.pem").write_bytes(both)
    monkeypatch.setattr(transfers, "CA_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_check_notes_when_the_certificate_ends_and_a_rule_hears_of_it(
    clockwork, secure_shop, make_monitor, make_rule
):
    monitor = make_monitor("shop", secure_shop)
    make_rule(
        monitor,
        name="Ends soon",
        alert_for="CERT_DAYS",
        alert_value="30",
        failure_threshold=1,
    )
    make_rule(
        monitor,
        name="Ends tomorrow",
        alert_for="CERT_DAYS",
        alert_value="1",
        failure_threshold=1,
    )

    clockwork.run_checks()

    state = MonitorState.objects.get()
    assert (state.status, state.certificate_expires_at) == ("up", ENDS)
    seen = Certificate.objects.get()
    assert (seen.expires_at, seen.seen_at) == (ENDS, state.checked_at)
    alert = Alert.objects.get()
    assert (alert.rule_name, alert.observed) == ("Ends soon", "19 days")

    # It is not read again with each check, and what is known stays known.
    clockwork.run_checks()
    state.refresh_from_db()
    assert state.certificate_expires_at == ENDS
    assert Certificate.objects.count() == 1
    assert transfers._reads_certificate(secure_shop) is False


def test_check_without_tls_says_nothing_of_certificates(
    clockwork, shop, make_monitor, make_rule
):
    monitor = make_monitor("shop", shop.url)
    make_rule(monitor, alert_for="CERT_DAYS", alert_value="30", failure_threshold=1)

    clockwork.run_checks()

    assert MonitorState.objects.get().certificate_expires_at is None
    assert not Alert.objects.exists()
