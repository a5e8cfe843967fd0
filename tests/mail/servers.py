"""Real mail servers for tests, on loopback: Exim as MX or relay, Dovecot for IMAP and LMTP. Never the system's own.

Each runs as an ordinary user (nobody, where the tests are root's) with a configuration, spool and mailboxes in a folder
of its own, made below the temporary folder: pytest's is closed to nobody, and too deep for Dovecot's sockets. Exim asks
no DNS and knows only the routes that it is given, all of them to 127.0.0.1; what it has no route for bounces.

    apt-get install --no-install-recommends exim4-daemon-light dovecot-imapd dovecot-lmtpd
"""

from __future__ import annotations

import base64
import grp
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from sluiceway.testing.ports import free_port

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/dovecot"
PROGRAMS = {
    "exim4": "exim4-daemon-light",
    "dovecot": "dovecot-imapd",
    "imap": "dovecot-imapd",
    "lmtp": "dovecot-lmtpd",
    "openssl": "openssl",
}
"""What must be there, and the package of Debian's that has it."""
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 5
PORTS_TRIED = 10
_numbers = count(1)

REFUSED, BUSY, GREYLISTED, SPAM = "refused", "busy", "greylisted", "spam"
"""Recipients whose local part begins so get 550 5.1.1, 451 4.3.2, 451 4.7.1 for a second; 554 5.7.1 after DATA."""
BOUNCES, DELAYED = "bounces", "delayed"
"""Recipients that are accepted, and then bounce at once; or wait: a delay notice, and a bounce in the end."""


def missing() -> str:
    """What to install before these servers can start; empty where they can."""
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program, path=PATH) is None}
    return f"mail servers are not installed: apt-get install {' '.join(sorted(packages))}" if packages else ""


@dataclass(frozen=True)
class Certificates:
    """A certificate for localhost and 127.0.0.1, the authority that signed it, and one that did not."""

    ca: Path
    other_ca: Path
    certificate: Path
    key: Path


def certificates(folder: Path) -> Certificates:
    """Made anew in `folder`, for two days."""
    for name in ("ca", "other-ca"):
        _openssl(folder, "req", "-x509", *_key(name), "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    _openssl(folder, "req", "-new", *_key("server"), "-out", "server.csr", "-subj", "/CN=localhost", "-addext", names)
    signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy")
    _openssl(folder, "x509", "-req", "-in", "server.csr", *signer, "-out", "server.pem")
    return Certificates(*(folder / name for name in ("ca.pem", "other-ca.pem", "server.pem", "server.key")))


def _key(name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


class _Owner(NamedTuple):
    """As whom the servers run: nobody where we are root, since Dovecot serves root no mail; else ourselves."""

    uid: int
    gid: int

    @classmethod
    def find(cls) -> _Owner:
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    @property
    def user(self) -> str:
        return pwd.getpwuid(self.uid).pw_name

    @property
    def group(self) -> str:
        return grp.getgrgid(self.gid).gr_name


class _Server:
    """A process in a folder of its own, with ports on 127.0.0.1 that stay the same when it is started again."""

    program: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.owner = _Owner.find()
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self) -> list[str]:
        """Write the configuration for `ports`; the arguments to start with."""
        raise NotImplementedError

    def log(self) -> str:
        """All that it logged, for people."""
        files = [file for file in sorted(self.folder.glob("log*")) if file.is_file()]
        return "\n".join(file.read_text(errors="replace") for file in files)

    def start(self) -> None:
        """On free ports. Raises `RuntimeError`, with what it logged."""
        for _ in range(PORTS_TRIED):
            self.ports = {name: free_port() for name in self.port_names}
            if self._start():
                return
        raise RuntimeError(f"{self.program} does not start: {self.log()[-2000:]}")

    def restart(self) -> None:
        """On the same ports, with the same data."""
        self.stop()
        if not self._start():
            raise RuntimeError(f"{self.program} does not start again: {self.log()[-2000:]}")

    def stop(self) -> None:
        """As its operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """No time to say goodbye, to it and to all processes that it started."""
        self._end(signal.SIGKILL)

    def own(self, path: Path) -> Path:
        """Give a file or folder to the user that the server runs as."""
        if os.geteuid() == 0:
            os.chown(path, self.owner.uid, self.owner.gid)
        return path

    def write(self, name: str, text: str) -> Path:
        """A file in the server's folder, which it can read."""
        file = self.folder / name
        file.write_text(text)
        return self.own(file)

    def _start(self) -> bool:
        root = os.geteuid() == 0
        command = [str(shutil.which(self.program, path=PATH)), *self.configure()]
        with (self.folder / "log-output").open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env={"PATH": PATH},
                start_new_session=True,
                user=self.owner.uid if root else None,
                group=self.owner.gid if root else None,
                extra_groups=[] if root else None,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if all(_greets(port) for port in self._greeting_ports()) and self._process.poll() is None:
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def _greeting_ports(self) -> list[int]:
        return [port for name, port in self.ports.items() if not name.endswith("s")]

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if how is signal.SIGTERM and process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline and any(_listens(port) for port in self.ports.values()):
            time.sleep(0.01)  # what it started holds its ports until it is gone too


class Route(NamedTuple):
    """Where mail for a domain goes: a port of 127.0.0.1, by SMTP or LMTP."""

    port: int
    protocol: Literal["smtp", "lmtp"] = "smtp"


class Exim(_Server):
    """A mail transfer agent: `port` (with STARTTLS) and `tls_port`. With a login it is a relay that wants it.

    Whoever asks for DSNs (RFC 3461) gets them. Mail that can't be delivered is tried again every second, its sender
    warned after `warn_after_s` and told that it failed after `give_up_after_s`. `adds` are header lines that each
    mail gets, as from an MX that verifies: "Authentication-Results: mx.example; dmarc=pass header.from=tenant.example".
    One that is not `strict` refuses nobody.
    """

    program = "exim4"
    port_names = ("smtp", "smtps")

    def __init__(
        self,
        folder: Path,
        routes: Mapping[str, Route],
        tls: Certificates,
        *,
        name: str = "relay.example",
        login: tuple[str, str] | None = None,
        adds: tuple[str, ...] = (),
        strict: bool = True,
        warn_after_s: int = 1,
        give_up_after_s: int = 4,
    ) -> None:
        super().__init__(folder)
        self.routes = dict(routes)
        self.name = name
        self._tls = tls
        self._login = login
        self._adds = adds
        self._strict = strict
        self._warn_after_s = warn_after_s
        self._give_up_after_s = give_up_after_s

    @property
    def port(self) -> int:
        return self.ports["smtp"]

    @property
    def tls_port(self) -> int:
        return self.ports["smtps"]

    def queued(self) -> int:
        """How many mails wait."""
        return len(list((self.folder / "input").glob("*-H")))

    def configure(self) -> list[str]:
        for source, name in ((self._tls.certificate, "server.pem"), (self._tls.key, "server.key")):
            self.write(name, source.read_text())
        self.write("exim.conf", "".join((self._main(), self._acl(), self._routers(), self._authenticators())))
        return ["-C", str(self.folder / "exim.conf"), "-bdf", "-q1s"]

    def _main(self) -> str:
        return f"""\
exim_path = {shutil.which(self.program, path=PATH)}
exim_user = {self.owner.user}
exim_group = {self.owner.group}
never_users =
deliver_drop_privilege = true
keep_environment =
spool_directory = {self.folder}
log_file_path = {self.folder}/log-%s
log_selector = +smtp_protocol_error +smtp_syntax_error -queue_run
pid_file_path = {self.folder}/exim.pid
primary_hostname = {self.name}
qualify_domain = {self.name}
local_interfaces = 127.0.0.1
daemon_startup_retries = 0
daemon_smtp_ports = {self.port} : {self.tls_port}
tls_on_connect_ports = {self.tls_port}
tls_advertise_hosts = *
tls_certificate = {self.folder}/server.pem
tls_privatekey = {self.folder}/server.key
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
dsn_advertise_hosts = *
delay_warning = {self._warn_after_s}s
ignore_bounce_errors_after = 10s
acl_smtp_mail = mail
acl_smtp_rcpt = recipient
acl_smtp_data = data
"""

    def _acl(self) -> str:
        wants_login = "" if self._login is None else "  deny !authenticated = *\n    message = 530 5.7.0 Log in first\n"
        adds = "".join(f"  warn add_header = :at_start:{line}\n" for line in self._adds).replace("$", r"\$")
        return f"""\
begin acl
mail:
{wants_login}  accept
recipient:
  accept condition = {"no" if self._strict else "yes"}
  deny local_parts = ^{REFUSED}
    message = 550 5.1.1 No such mailbox
  defer local_parts = ^{BUSY}
    message = 451 4.3.2 Busy, come back later
  defer local_parts = ^{GREYLISTED}
    !seen = -1s / key=${{sender_address}}_${{local_part}}@${{domain}}
    message = 451 4.7.1 Greylisted, come back later
  warn local_parts = ^{SPAM}
    set acl_m_spam = yes
  accept
data:
  deny condition = ${{if def:acl_m_spam}}
    message = 554 5.7.1 Looks like spam
{adds}  accept
"""

    def _routers(self) -> str:
        routers, transports = "", ""
        for number, (domain, route) in enumerate(self.routes.items()):
            routers += f"""\
route{number}:
  driver = manualroute
  domains = {domain}
  route_list = * 127.0.0.1
  self = send
  transport = transport{number}
  no_more
"""
            transports += f"""\
transport{number}:
  driver = smtp
  protocol = {route.protocol}
  port = {route.port}
  allow_localhost
  hosts_require_auth =
  tls_verify_certificates =
"""
        return f"""\
begin routers
bounces:
  driver = redirect
  local_parts = ^{BOUNCES}
  allow_fail
  data = :fail: 550 5.1.1 No such mailbox
delayed:
  driver = redirect
  local_parts = ^{DELAYED}
  allow_defer
  data = :defer: 451 4.4.1 Nobody answers
{routers}begin transports
{transports}begin retry
* * F,{self._give_up_after_s}s,1s
"""

    def _authenticators(self) -> str:
        if self._login is None:
            return ""
        user, password = self._login
        return f"""\
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
"""


class User(NamedTuple):
    """A mailbox and the login to it; its name is its address."""

    name: str
    password: str


class Dovecot(_Server):
    """Mailboxes: IMAP in the clear (with STARTTLS) and with TLS, and delivery by LMTP, which refuses who is unknown."""

    program = "dovecot"
    port_names = ("imap", "imaps", "lmtp")
    domain = "customer.example"

    def __init__(self, folder: Path, tls: Certificates, *, plaintext_login: bool = True) -> None:
        super().__init__(folder)
        self.tls = tls
        self._plaintext_login = plaintext_login
        self._key = b"a key that signs tokens in tests "

    @property
    def imap_port(self) -> int:
        return self.ports["imap"]

    @property
    def imaps_port(self) -> int:
        return self.ports["imaps"]

    @property
    def lmtp_port(self) -> int:
        return self.ports["lmtp"]

    @property
    def route(self) -> Route:
        """For an Exim that is to deliver here."""
        return Route(self.lmtp_port, "lmtp")

    def user(self, local_part: str = "", password: str = "pass word") -> User:
        """One more mailbox, empty; with a name of its own where none is given."""
        user = User(f"{local_part or f'desk{next(_numbers)}'}@{self.domain}", password)
        folder = self.folder / "users"
        folder.mkdir(exist_ok=True)
        self.write(f"users/{user.name}", f"{user.name}:{{PLAIN}}{user.password}::::::\n")
        return user

    def token(self, user: User, seconds: int = 3600) -> str:
        """An access token (a JWT) that Dovecot takes by XOAUTH2 and OAUTHBEARER."""
        claims = {"sub": user.name, "iat": int(time.time()) - 60, "exp": int(time.time()) + seconds, "typ": "Bearer"}
        parts = [_base64url(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
        signature = hmac.digest(self._key, ".".join(parts).encode(), hashlib.sha256)
        return ".".join([*parts, _base64url(signature)])

    def deliver(self, user: User, mail: bytes, sender: str = "customer@tenant.example") -> None:
        """By LMTP; it is in the mailbox when this returns. Raises `smtplib.SMTPException` where it is refused."""
        from smtplib import LMTP

        with LMTP("127.0.0.1", self.lmtp_port, timeout=START_TIMEOUT_S) as client:
            client.sendmail(sender, [user.name], mail)

    def maildir(self, user: User, folder: str = "") -> Path:
        """Where the mailbox's files are; folders are `.Name` in it."""
        return self.folder / "mail" / user.name / (f".{folder}" if folder else "")

    def change_uidvalidity(self, user: User) -> None:
        """As after a restored backup: the same mails, all with other UIDs."""
        base = self.maildir(user)
        for name in ("dovecot-uidlist", "dovecot-uidvalidity"):
            (base / name).unlink(missing_ok=True)
        for file in [*base.glob("dovecot-uidvalidity.*"), *base.glob("dovecot.index*"), *base.glob("dovecot.list*")]:
            file.unlink()

    def configure(self) -> list[str]:
        for source, name in ((self.tls.certificate, "server.pem"), (self.tls.key, "server.key")):
            self.write(name, source.read_text())
        shutil.rmtree(self.folder / "run", ignore_errors=True)  # sockets of one that was killed
        keys = self.folder / "keys/default/HS256"
        keys.mkdir(parents=True, exist_ok=True)
        (keys / "default").write_bytes(base64.b64encode(self._key))
        self.own(self.folder / "keys")
        self.write(
            "oauth2.conf",
            f"introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix={self.folder}/keys/\n"
            "username_attribute = sub\n",
        )
        self.write("dovecot.conf", self._configuration())
        return ["-F", "-c", str(self.folder / "dovecot.conf")]

    def _configuration(self) -> str:
        return f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/log-main
hostname = mail.{self.domain}
protocols = imap lmtp
listen = 127.0.0.1
default_internal_user = {self.owner.user}
default_internal_group = {self.owner.group}
default_login_user = {self.owner.user}
first_valid_uid = 1
first_valid_gid = 1
ssl = yes
ssl_cert = <{self.folder}/server.pem
ssl_key = <{self.folder}/server.key
disable_plaintext_auth = {"no" if self._plaintext_login else "yes"}
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 0
mail_max_userip_connections = 100
mail_location = maildir:{self.folder}/mail/%u
mail_fsync = never
passdb {{
  driver = passwd-file
  args = username_format=%u {self.folder}/users/%u
}}
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {self.folder}/oauth2.conf
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {self.folder}/users/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = {self.imaps_port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {self.lmtp_port}
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@{self.domain}
}}
"""


@contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A short path that the servers' user may enter; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"sluiceway-{name}-"))
    folder.chmod(0o700)
    if os.geteuid() == 0:
        owner = _Owner.find()
        os.chown(folder, owner.uid, owner.gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def dovecot(tls: Certificates, *, plaintext_login: bool = True) -> Iterator[Dovecot]:
    """A running Dovecot; ended and forgotten afterwards."""
    with own_folder("dovecot") as folder:
        server = Dovecot(folder, tls, plaintext_login=plaintext_login)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def exim(
    tls: Certificates,
    routes: Mapping[str, Route],
    *,
    name: str = "relay.example",
    login: tuple[str, str] | None = None,
    adds: tuple[str, ...] = (),
    strict: bool = True,
    warn_after_s: int = 1,
    give_up_after_s: int = 4,
) -> Iterator[Exim]:
    """A running Exim; ended and forgotten afterwards, with all that waits in it."""
    with own_folder("exim") as folder:
        server = Exim(
            folder,
            routes,
            tls,
            name=name,
            login=login,
            adds=adds,
            strict=strict,
            warn_after_s=warn_after_s,
            give_up_after_s=give_up_after_s,
        )
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _greets(port: int) -> bool:
    """Whether a mail server speaks first there, as they all do without TLS."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) in (b"220 ", b"220-", b"* OK")
    except OSError:
        return False
