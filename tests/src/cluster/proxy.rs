//! A way between two servers on which bytes are counted.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::wire::Address;

/// Passes on connections to a server, both ways, and counts the bytes. It ends when it is dropped, and with it what it carries.
#[derive(Debug)]
pub struct Proxy {
    address: Address,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: Address,
    bytes: AtomicU64,
    over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// A way to the server at `to`, which need not be there yet.
    ///
    /// # Panics
    /// When there is no port for it.
    pub fn new(to: Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = Address::from(listener.local_addr().expect("it is bound"));
        let (bytes, over, open) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        let shared = Arc::new(Shared { to, bytes, over, open });
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(&listener)
        });
        Proxy { address, shared, accepting: Some(accepting) }
    }

    /// Where it begins.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How many bytes have passed, in both directions.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Relaxed);
        // Wakes the thread that accepts; where that fails, it has ended.
        let _ = connect(&self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for stream in self.shared.open.lock().expect("no thread panics with it").drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.over.load(Relaxed) {
                return;
            }
            // Whoever finds nobody at the other end is closed, as by a server that has just ended.
            let Ok((near, far)) = stream.and_then(|near| Ok((near, connect(&self.to)?))) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let Ok((from, to)) = from.try_clone().and_then(|from| Ok((from, to.try_clone()?))) else {
                    continue;
                };
                let shared = Arc::clone(&self);
                std::thread::spawn(move || shared.carry(from, to));
            }
            self.open.lock().expect("no thread panics with it").extend([near, far]);
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(count) if count > 0 && to.write_all(&buffer[..count]).is_ok() => {
                    self.bytes.fetch_add(count as u64, Relaxed);
                }
                // Either end is gone: so is the way.
                _ => {
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                    return;
                }
            }
        }
    }
}

fn connect(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.hostname.as_str(), address.port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
