//! The beginning and the end of a connection.

use std::io;

use common::limits;
use common::machine::DialError;
use common::wire::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connects, within [`limits::DIAL_TIMEOUT`].
pub(super) async fn connect(address: Address) -> Result<TcpStream, DialError> {
    let attempt = TcpStream::connect((address.hostname.as_str(), address.port));
    match tokio::time::timeout(limits::DIAL_TIMEOUT, attempt).await {
        Ok(Ok(stream)) => {
            // Without it small messages wait for each other; where it fails, they do.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(DialError::Refused),
        Ok(Err(_)) | Err(_) => Err(DialError::Unreachable),
    }
}

/// Says the last words, and drains what still comes for a moment: closing over unread bytes would be a reset, and eat them.
pub(super) async fn say_goodbye(mut stream: TcpStream, farewell: &[u8]) {
    let conversation = async {
        stream.write_all(farewell).await?;
        stream.shutdown().await?;
        let mut ignored = vec![0; 4 << 10];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether or not the other side hears it, we are gone.
    let _ = tokio::time::timeout(limits::LINGER, conversation).await;
}
