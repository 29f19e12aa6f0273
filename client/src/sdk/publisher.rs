//! The way out of a session: publish, and hear what became of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use common::wire;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::Error;
use crate::core::{self, Report};
use crate::shell::Wish;

/// Publishes through a session. Clones share it. The session ends when its [`Client`](super::Client) and all publishers are dropped.
#[derive(Clone, Debug)]
pub struct Publisher {
    pub(super) wishes: mpsc::Sender<Wish>,
}

impl Publisher {
    /// Hands an activity to the session, which sends it as soon as it can, and again where a connection breaks, until it is reported;
    /// waits while too much is unreported already. Returning says that the activity is in line, no more: what becomes of it is told
    /// with [`Event::Report`](super::Event::Report), or by [`deliver`](Self::deliver).
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn publish(&self, activity: &impl Serialize) -> Result<(), Error> {
        self.send(activity, None).await
    }

    /// Publishes an activity, and waits until the network has reported what became of it: how many have it, and whether it survives
    /// the loss of a server. That takes some milliseconds in a healthy network, some seconds where somebody does not answer, and as
    /// long as it takes where there is no connection; bound the wait with `tokio::time::timeout`. To publish more meanwhile, see
    /// [`submit`](Self::submit).
    ///
    /// ```no_run
    /// # async fn example(client: client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = client.deliver(&serde_json::json!({"type": "Alarm"})).await?;
    /// println!("{} of {} have it", report.succ_count, report.client_count);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`Error`]. When the session ends first, the activity may have been published.
    pub async fn deliver(&self, activity: &impl Serialize) -> Result<Report, Error> {
        self.submit(activity).await?.await
    }

    /// Publishes an activity, and returns what waits for the report on it, so that the next one can be published meanwhile. It may be
    /// dropped.
    ///
    /// # Errors
    /// See [`Error`]; nothing was published.
    pub async fn submit(&self, activity: &impl Serialize) -> Result<Delivery, Error> {
        let (sender, report) = oneshot::channel();
        self.send(activity, Some(sender)).await?;
        Ok(Delivery(report))
    }

    async fn send(
        &self,
        activity: &impl Serialize,
        report: Option<oneshot::Sender<Option<Report>>>,
    ) -> Result<(), Error> {
        let text = serde_json::to_string(activity).map_err(Error::NotAnActivity)?;
        let activity = wire::Activity::parse(&text).map_err(Error::NotAnActivity)?;
        core::Client::check(&activity)?;
        self.wishes.send(Wish::Publish { activity, report }).await.map_err(|_| ended())
    }
}

/// Waits for the report on an activity that was published.
///
/// It ends with [`Error::Ended`] when the session ends first: the activity may have been published; and with [`Error::NoReport`] when the
/// server gives none.
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Option<Report>>);

impl Future for Delivery {
    type Output = Result<Report, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(report) => report.ok_or(Error::NoReport),
            Err(_) => Err(ended()),
        })
    }
}

fn ended() -> Error {
    Error::Ended("the session has ended".to_owned())
}
