//! The end of a connection.

use std::io;

use common::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Says the last words, and drains what still comes for a moment: closing over unread bytes would be a reset, and eat them.
pub(super) async fn say_goodbye(mut stream: TcpStream, farewell: Vec<u8>) {
    let conversation = async {
        stream.write_all(&farewell).await?;
        stream.shutdown().await?;
        let mut ignored = vec![0; 4 << 10];
        while stream.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether or not the other side hears it, we are gone.
    let _ = tokio::time::timeout(limits::LINGER, conversation).await;
}
