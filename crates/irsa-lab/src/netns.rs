//! A network namespace in which AWS names lead to the lab, for clients that ignore proxies (Node.js, for one).
//!
//! The process gets a namespace of its own with nothing but a loopback interface, its own `/etc/hosts` and
//! `/etc/resolv.conf`, and this process listens in there on 127.0.0.1:443 and carries what arrives to the lab's TLS
//! door. A socket belongs to the namespace in which it was made, so a thread goes in, makes the sockets, and ends.
//! Nothing of the machine outside the process is touched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsa_core::partition;
use irsa_net::{Connection, Drain, Limits, Listener, Protocol};
use irsa_sts::Aws;
use tokio::io::copy_bidirectional;
use tokio::task::JoinSet;

use crate::run::Reach;
use crate::view::{SYSTEM_PATH, find_in};

/// How long the namespace may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs inside: loopback up, files in place, then waits until somebody listens. `$1` our folder, `$2` and `$3` the
/// programs, the rest the command.
const INIT: &str = r#"dir=$1 ip=$2 mount=$3
shift 3
"$ip" link set lo up && "$mount" --bind "$dir/hosts" /etc/hosts || exit 125
"$mount" --bind "$dir/resolv.conf" /etc/resolv.conf 2>/dev/null
: > "$dir/up" || exit 125
n=0
while [ ! -e "$dir/go" ]; do
  n=$((n + 1))
  [ "$n" -gt 1000 ] && exit 125
  sleep 0.01
done
exec "$@""#;

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not on this system or not by this user.
    #[error(
        "a network namespace for the command is not possible: {0}; clients that honour HTTPS_PROXY (all AWS SDKs and \
         CLIs but those on Node.js) run without --netns"
    )]
    Impossible(String),
    /// A file or socket.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// A namespace that is prepared but in which nothing runs yet.
#[derive(Debug)]
pub struct Namespace {
    dir: PathBuf,
    unshare: PathBuf,
    ip: PathBuf,
    mount: PathBuf,
    shell: PathBuf,
    direct: SocketAddr,
    hosts: Vec<String>,
}

/// Carries connections for as long as it lives.
#[derive(Debug)]
pub struct Doors {
    _drain: Drain,
    _tasks: JoinSet<()>,
}

impl Namespace {
    /// Looks whether it is possible and writes the files for it into `dir`, a folder of this process only.
    ///
    /// # Errors
    /// [`Error::Impossible`] with the reason.
    pub fn prepare(dir: &Path, reach: &Reach) -> Result<Self, Error> {
        if !cfg!(target_os = "linux") {
            return Err(Error::Impossible("it needs Linux".to_owned()));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Impossible("it needs root (try sudo)".to_owned()));
        }
        let program = |name: &str| {
            let mut path = std::env::var_os(irsa_core::variables::PATH).unwrap_or_default();
            path.push(":");
            path.push(SYSTEM_PATH);
            find_in(OsStr::new(name), &path).ok_or_else(|| {
                Error::Impossible(format!("there is no `{name}` (of util-linux and iproute2)"))
            })
        };
        let namespace = Self {
            unshare: program("unshare")?,
            ip: program("ip")?,
            mount: program("mount")?,
            shell: program("sh")?,
            dir: dir.to_owned(),
            direct: reach.direct,
            hosts: reach.hosts.clone(),
        };
        let write = |name: &str, content: String| {
            fs::write(dir.join(name), content).map_err(|source| Error::Io {
                action: "write the namespace's files",
                source,
            })
        };
        write("hosts", hosts_file(&reach.hosts))?;
        write("resolv.conf", "nameserver 127.0.0.1\n".to_owned())?;
        Ok(namespace)
    }

    /// The command line that runs `program` inside. After starting it, call [`Self::open`] with its process id.
    #[must_use]
    pub fn wrap(&self, program: &OsStr, arguments: &[OsString]) -> (OsString, Vec<OsString>) {
        let mut all: Vec<OsString> = ["--net", "--mount", "--propagation", "private", "--"]
            .map(OsString::from)
            .to_vec();
        all.push(self.shell.clone().into());
        all.extend(["-c", INIT, "irsa"].map(OsString::from));
        all.extend([&self.dir, &self.ip, &self.mount].map(|path| path.clone().into_os_string()));
        all.push(program.to_owned());
        all.extend_from_slice(arguments);
        (self.unshare.clone().into(), all)
    }

    /// Opens the doors in the namespace of the started process and lets it go on.
    ///
    /// # Errors
    /// When the namespace did not come up.
    pub async fn open(&self, process: u32) -> Result<Doors, Error> {
        let began = Instant::now();
        while !self.dir.join("up").exists() {
            if !Path::new(&format!("/proc/{process}")).exists() || began.elapsed() > PATIENCE {
                return Err(Error::Impossible(
                    "it could not be set up (is this a container without CAP_SYS_ADMIN?)".to_owned(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (listener, names) = tokio::task::spawn_blocking(move || {
            // A thread that has gone into a namespace must not be used for anything else, so it ends here.
            std::thread::spawn(move || sockets_inside(process))
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace failed")))
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(io_error("listen in the namespace"))?;
        let listener = tokio::net::TcpListener::from_std(listener)
            .and_then(Listener::new)
            .map_err(io_error("listen in the namespace"))?;
        let names = tokio::net::UdpSocket::from_std(names).map_err(io_error("listen in the namespace"))?;

        let mut tasks = JoinSet::new();
        let drain = Drain::default();
        let carry = Arc::new(Carry(self.direct));
        tasks.spawn(listener.serve(carry, Limits::default(), Arc::new(()), drain.phases()));
        tasks.spawn(answer_names(names, self.hosts.clone()));
        fs::write(self.dir.join("go"), "").map_err(io_error("let the command go on"))?;
        Ok(Doors {
            _drain: drain,
            _tasks: tasks,
        })
    }
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

#[cfg(not(target_os = "linux"))]
fn sockets_inside(_process: u32) -> io::Result<(TcpListener, UdpSocket)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn sockets_inside(process: u32) -> io::Result<(TcpListener, UdpSocket)> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let namespace = fs::File::open(format!("/proc/{process}/ns/net"))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 443))?;
    listener.set_nonblocking(true)?;
    let names = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53))?;
    names.set_nonblocking(true)?;
    Ok((listener, names))
}

/// Carries each connection to an address.
struct Carry(SocketAddr);

impl Protocol for Carry {
    async fn serve(self: Arc<Self>, mut from: tokio::net::TcpStream, connection: Connection) {
        // What is carried is not looked at, so the connection counts as used from the start.
        let _busy = connection.busy();
        match tokio::net::TcpStream::connect(self.0).await {
            Ok(mut lab) => {
                let _ = copy_bidirectional(&mut from, &mut lab).await;
            }
            Err(error) => tracing::warn!(%error, "the lab's AWS is not there"),
        }
    }
}

/// Answers DNS: names that the lab serves are 127.0.0.1, all others do not exist. Buckets in host names are why a
/// hosts file is not enough.
async fn answer_names(socket: tokio::net::UdpSocket, hosts: Vec<String>) {
    let mut query = [0; 1500];
    loop {
        match socket.recv_from(&mut query).await {
            Ok((length, from)) => {
                if let Some(answer) = answer_query(&query[..length], |name| {
                    Aws::serves(name) || hosts.iter().any(|host| host == name)
                }) {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The answer to one DNS query of one question (RFC 1035); `None` for what is no such query.
fn answer_query(query: &[u8], serves: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    const A: u16 = 1;
    const NAME_ERROR: u8 = 3;
    let word = |at: usize| Some(u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]));
    let is_response = query.get(2)? & 0x80 != 0;
    if is_response || word(4)? != 1 {
        return None;
    }
    let mut labels = Vec::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Longer ones are pointers, which a question has no use for.
        if length > 63 || labels.len() > 127 {
            return None;
        }
        labels.push(
            std::str::from_utf8(query.get(at..at + length)?)
                .ok()?
                .to_ascii_lowercase(),
        );
        at += length;
    }
    let kind = word(at)?;
    let question = query.get(HEADER..at + 4)?;
    let known = serves(&labels.join("."));
    let has_address = known && kind == A;

    let mut answer = Vec::with_capacity(HEADER + question.len() + 16);
    answer.extend_from_slice(query.get(..2)?);
    // An authoritative answer, with recursion as asked.
    answer.push(0x84 | (query.get(2)? & 0x01));
    answer.push(0x80 | if known { 0 } else { NAME_ERROR });
    answer.extend_from_slice(&[0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if has_address {
        // The name of the question, type A, class IN, one minute, four bytes.
        answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

/// Every STS and S3 host name without a bucket, and what else is served.
fn hosts_file(more: &[String]) -> String {
    let mut names = vec![
        partition::GLOBAL_STS_HOST.to_owned(),
        "s3.amazonaws.com".to_owned(),
    ];
    for region in partition::all_regions() {
        for (fips, dual_stack) in [(false, false), (true, false), (false, true), (true, true)] {
            names.push(partition::sts_host(region, fips, dual_stack));
            let options = partition::S3HostOptions {
                fips,
                dual_stack,
                path_style: true,
                ..partition::S3HostOptions::default()
            };
            names.extend(
                partition::s3_host(region, "bucket", options)
                    .ok()
                    .map(|host| host.host),
            );
        }
    }
    names.retain(|name| Aws::serves(name));
    names.extend_from_slice(more);
    names.sort();
    names.dedup();
    let mut file = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for name in names {
        file.push_str("127.0.0.1 ");
        file.push_str(&name);
        file.push('\n');
    }
    file
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes
    }

    #[test]
    fn buckets_lead_to_the_lab_and_everything_else_does_not_exist() {
        let serves = |name: &str| name.ends_with(".s3.amazonaws.com");
        let answer = answer_query(&query("B.s3.amazonaws.com", 1), serves).unwrap();
        assert_eq!(&answer[..2], [0xab, 0xcd]);
        assert_eq!(answer[3] & 0x0f, 0);
        assert_eq!(&answer[answer.len() - 4..], [127, 0, 0, 1]);
        // No IPv6 address, but the name exists.
        let answer = answer_query(&query("b.s3.amazonaws.com", 28), serves).unwrap();
        assert_eq!((answer[3] & 0x0f, answer[7]), (0, 0));
        let answer = answer_query(&query("example.com", 1), serves).unwrap();
        assert_eq!((answer[3] & 0x0f, answer[7]), (3, 0));
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let good = query("b.s3.amazonaws.com", 1);
        for length in 0..good.len() {
            assert_eq!(answer_query(&good[..length], |_| true), None, "{length}");
        }
        let mut response = good.clone();
        response[2] |= 0x80;
        assert_eq!(answer_query(&response, |_| true), None);
        let mut pointer = good;
        pointer[12] = 0xc0;
        assert_eq!(answer_query(&pointer, |_| true), None);
    }

    #[test]
    fn the_hosts_file_has_the_names_that_exist_and_no_others() {
        let file = hosts_file(&["issuer.example".to_owned()]);
        for name in [
            "localhost",
            "sts.amazonaws.com",
            "sts.us-west-2.amazonaws.com",
            "sts-fips.us-west-2.amazonaws.com",
            "sts.cn-north-1.amazonaws.com.cn",
            "s3.us-west-2.amazonaws.com",
            "s3.dualstack.us-west-2.amazonaws.com",
            "issuer.example",
        ] {
            assert!(file.contains(&format!("127.0.0.1 {name}\n")), "{name}");
        }
        assert!(!file.contains("sts-fips.eu-central-1.amazonaws.com"));
    }
}
