//! Honest clients in numbers: they publish in turn, and each checks that it receives every activity once and in order.
//!
//! All clients of a crowd live in one task set on the caller's runtime, so that a hundred cost no thread. They read lines with as
//! little work as will do: what is measured is the servers.

use std::time::{Duration, Instant};

use common::wire::Address;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::PATIENCE;

/// A hundred and more sessions that behave.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    /// How many activities each has published.
    published: Vec<u64>,
    start: Instant,
}

#[derive(Debug)]
struct Member {
    writer: OwnedWriteHalf,
    progress: watch::Receiver<Progress>,
    reader: JoinHandle<String>,
}

/// What a member has received.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    count: u64,
    slowest: Duration,
}

impl Crowd {
    /// Logs in `count` anonymous clients, spread evenly over `workers`.
    ///
    /// # Panics
    /// When one of them is not let in.
    pub async fn gather(workers: &[Address], count: usize) -> Self {
        let start = Instant::now();
        let mut members = Vec::with_capacity(count);
        for index in 0..count {
            let (reader, writer) = log_in(&workers[index % workers.len()]).await.into_split();
            let (sender, progress) = watch::channel(Progress::default());
            let reader = tokio::spawn(read(reader, count, start, sender));
            members.push(Member { writer, progress, reader });
        }
        Crowd { members, published: vec![0; count], start }
    }

    /// Lets members publish in turn, one every `pause`, until `abuse` is over; then sees to it that every activity has arrived at
    /// everyone. Returns the abuse's own result.
    ///
    /// # Panics
    /// When a member was disconnected, or missed, repeated or reordered an activity.
    pub async fn go_on_during<T>(&mut self, pause: Duration, abuse: impl Future<Output = T>) -> T {
        let mut ticks = tokio::time::interval(pause);
        let mut abuse = std::pin::pin!(abuse);
        let outcome = loop {
            tokio::select! {
                outcome = &mut abuse => break outcome,
                _ = ticks.tick() => self.publish_next("").await,
            }
        };
        // At least one of each, however short the abuse was.
        for _ in 0..self.members.len() {
            self.publish_next("").await;
        }
        self.everyone_has_everything().await;
        outcome
    }

    /// Publishes `count` activities with `padding` in each, in bursts that everyone has received before the next begins.
    pub async fn flood(&mut self, count: usize, burst: usize, padding: &str) {
        for begin in (0..count).step_by(burst) {
            for _ in begin..count.min(begin + burst) {
                self.publish_next(padding).await;
            }
            self.everyone_has_everything().await;
        }
    }

    /// How many activities have been published.
    pub fn total(&self) -> u64 {
        self.published.iter().sum()
    }

    /// The longest that an activity has taken from its sender to a receiver.
    pub fn slowest(&self) -> Duration {
        self.members.iter().map(|member| member.progress.borrow().slowest).max().unwrap_or_default()
    }

    async fn publish_next(&mut self, padding: &str) {
        let sender = usize::try_from(self.total()).expect("a count of activities") % self.members.len();
        let number = self.published[sender];
        self.published[sender] += 1;
        let at = self.start.elapsed().as_micros();
        let line = format!(
            "{{\"command\":\"ACTIVITY_MESSAGE\",\"activity\":{{\"sender\":{sender},\"number\":{number},\"at\":{at},\"padding\":\"{padding}\"}}}}\n"
        );
        self.members[sender]
            .writer
            .write_all(line.as_bytes())
            .await
            .expect("an honest client is not disconnected");
    }

    async fn everyone_has_everything(&mut self) {
        let total = self.total();
        for (index, member) in self.members.iter_mut().enumerate() {
            let arrived = member.progress.wait_for(|progress| progress.count >= total);
            let failed = match tokio::time::timeout(PATIENCE, arrived).await {
                Ok(Ok(_)) => continue,
                Ok(Err(_)) => (&mut member.reader).await.unwrap_or_else(|error| error.to_string()),
                Err(_) => "nothing more comes".to_owned(),
            };
            let count = member.progress.borrow().count;
            panic!("honest client {index} has {count} of {total} activities: {failed}");
        }
    }
}

/// Logs in as `anonymous` at a worker.
///
/// # Panics
/// When it is not let in.
pub async fn log_in(worker: &Address) -> TcpStream {
    let stream = connect(worker).await.expect("the worker accepts");
    let mut stream = BufReader::with_capacity(256, stream);
    stream
        .write_all(b"{\"command\":\"LOGIN\",\"username\":\"anonymous\"}\n")
        .await
        .expect("the worker listens");
    let mut line = String::new();
    let answer = tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await;
    answer.expect("the worker answers in time").expect("the worker answers");
    assert!(line.contains("LOGIN_SUCCESS"), "an anonymous log-in was answered with {line:?}");
    assert!(stream.buffer().is_empty(), "activities have begun to flow before the crowd was complete");
    stream.into_inner()
}

/// Connects.
///
/// # Errors
/// Those of the system.
pub async fn connect(address: &Address) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((address.hostname.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until something is wrong, and says what.
async fn read(
    stream: OwnedReadHalf,
    senders: usize,
    start: Instant,
    sender_of_progress: watch::Sender<Progress>,
) -> String {
    let mut next = vec![0u64; senders];
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) => return "the worker closed the connection".to_owned(),
            Err(error) => return error.to_string(),
            Ok(_) => {}
        }
        // Activities of others than the crowd are not its business.
        let Some(sender) = number_after(&line, b"\"sender\":") else {
            if line.starts_with(b"{\"command\":\"ACTIVITY_BROADCAST\"") {
                continue;
            }
            return format!("the worker said {}", String::from_utf8_lossy(&line));
        };
        let (Some(number), Some(at)) = (number_after(&line, b"\"number\":"), number_after(&line, b"\"at\":"))
        else {
            return format!("an activity was changed: {}", String::from_utf8_lossy(&line));
        };
        let expected = &mut next[usize::try_from(sender).expect("a sender of the crowd")];
        if number != *expected {
            return format!("number {number} of sender {sender} came where {expected} was due");
        }
        *expected += 1;
        let took = start.elapsed().saturating_sub(Duration::from_micros(at));
        sender_of_progress.send_modify(|progress| {
            progress.count += 1;
            progress.slowest = progress.slowest.max(took);
        });
    }
}

/// The number after the first occurrence of `key`, which is never far into a line.
fn number_after(line: &[u8], key: &[u8]) -> Option<u64> {
    let head = &line[..line.len().min(400)];
    let begin = head.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = head[begin..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
