//! Says hello to everybody who is connected, and shows what they say for a while.
//!
//! With a network running (`cargo run --release`), from another terminal:
//!
//! ```text
//! cargo run --release -p client --example hello
//! cargo run --release -p client --example hello -- 127.0.0.1:3780
//! ```

use std::time::Duration;

use client::{Client, Options};
use futures::StreamExt;
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let coordinator = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3780".to_owned());

    // `anonymous` needs no registration; for a name of one's own:
    // `.user("ann".parse()?, Secret::new("…")).register_if_missing()`.
    let options = Options::new(coordinator.parse()?);
    let mut client = Client::connect(options).await?;

    let report = client.deliver(&json!({"type": "Note", "content": "hello from an example"})).await?;
    println!("{} of {} have received it", report.succ_count, report.client_count);

    // What others say; and our own activity, which comes back as well.
    let mut activities = client.activities();
    let until = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            activity = activities.next() => match activity {
                Some(activity) => println!("{}: {}", activity.user, activity.json),
                None => break,
            },
        }
    }
    drop(activities);
    client.close().await?;
    Ok(())
}
