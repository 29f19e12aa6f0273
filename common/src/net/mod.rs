//! The network shell: runs one [`Machine`](crate::machine::Machine) on tokio, on one thread.
//!
//! One task ([`drive()`]) owns the turn: it accepts, takes inputs, wakes the machine at its deadline, reads, and flushes. Beside it runs
//! one small task per link that waits for bytes (`reading`), and one per dialling attempt. All of them share the `node::Node`, and none
//! awaits while it holds it, so a machine never sees two events at once and one peer never waits for another.
//!
//! **Batching.** What has come from many peers is read one after the other before the turn comes to flushing, so under load many
//! messages leave in one write, and without load one leaves at once. Nothing ever waits for company, and a turn is short whatever
//! anybody sends: it reads a bounded number of bytes, and goes on with those who have not had theirs.
//!
//! What is *not* here: any decision. When a peer is too slow, who may connect, what a closed link means: machines say.

mod closing;
mod drive;
mod hash_queue;
mod hasher;
mod node;
mod reading;

pub use drive::{Options, drive};
pub use hasher::Hasher;

use std::io;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::machine::DialError;
use crate::wire::Address;

/// Binds a listener.
///
/// # Errors
/// A sentence that says what to do, `flag` being the option that chooses the address.
pub async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, String> {
    use std::io::ErrorKind;
    bind(address).map_err(|error| {
        let advice = match error.kind() {
            ErrorKind::AddrInUse => {
                format!("something else listens there; stop it, or choose another port with {flag}")
            }
            ErrorKind::PermissionDenied => {
                format!("this user may not use that port; choose one above 1023 with {flag}")
            }
            ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address; choose another with {flag}")
            }
            _ => format!("choose another address with {flag}"),
        };
        format!("cannot listen on {address}: {error}: {advice}")
    })
}

/// Connects within [`limits::DIAL_TIMEOUT`].
///
/// # Errors
/// Whether somebody said no, or nobody answered, or there is no such host.
pub async fn connect(address: &Address) -> Result<TcpStream, DialError> {
    let until = Instant::now() + limits::DIAL_TIMEOUT;
    let found = timeout_at(until, lookup_host((address.hostname.as_str(), address.port))).await;
    let Ok(Ok(found)) = found else { return Err(DialError::Unresolved) };
    let found: Vec<SocketAddr> = found.collect();
    match timeout_at(until, TcpStream::connect(&*found)).await {
        Ok(Ok(stream)) => {
            prepare(&stream);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(DialError::Refused),
        Ok(Err(_)) | Err(_) => Err(DialError::Unreachable),
    }
}

/// Sets up a connection, accepted or dialled: small messages leave at once (batching is ours), what waits for a slow peer waits
/// in our bounds and not in the kernel's, and the kernel finds out when the other side has vanished without a word: by asking, where
/// nothing is on its way, which one who only listens would never notice, and else by what is not acknowledged.
fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(limits::KEEPALIVE)
        .with_interval(limits::KEEPALIVE_PROBE)
        .with_retries(limits::KEEPALIVE_PROBES);
    let socket = SockRef::from(stream);
    // Where the system refuses one of these, the connection still works.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    {
        let _ = socket.set_tcp_user_timeout(Some(limits::UNACKNOWLEDGED));
        let _ = socket.set_tcp_notsent_lowat(limits::UNSENT_BYTES);
    }
}

/// Has the kernel confirm at once again what comes over a connection, after something was written to it: for those who listen more than
/// they talk. Linux takes a connection in which both sides write for a conversation, and keeps TCP's acknowledgements for an answer to
/// carry (`tcp(7)`, TCP_QUICKACK, which does not last). Where no answer comes, they leave when the next piece arrives; on one machine that
/// is while its sender sends, and was a fifth of a worker's time where each activity is a `send` of its own. Elsewhere nothing is done.
#[cfg(target_os = "linux")]
pub fn acknowledge_at_once(stream: &impl std::os::fd::AsFd) {
    // Where the system refuses, the connection still works.
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}

/// Does nothing on this system.
#[cfg(not(target_os = "linux"))]
pub fn acknowledge_at_once<S>(_: &S) {}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A server that comes back takes its port again while connections of the one before it fade.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    /// A path that died silently under a client was noticed after a quarter of an hour: the worker writes every few seconds, so that
    /// something was always unacknowledged, and as long as that is so the kernel asks nobody whether he is there.
    #[tokio::test(flavor = "current_thread")]
    async fn who_acknowledges_nothing_is_given_up_when_who_is_asked_in_vain_would_be() {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "--listen").await.unwrap();
        let address = Address { hostname: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let stream = connect(&address).await.unwrap();

        let socket = SockRef::from(&stream);
        let asked = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let given_up = socket.tcp_keepalive_time().unwrap() + asked;
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(given_up));
        assert_eq!(given_up, Duration::from_secs(30));
    }
}
