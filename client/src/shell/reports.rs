//! Who waits for the report on which activity.

use std::collections::BTreeMap;

use common::id::Seq;
use tokio::sync::oneshot;

use crate::core::Report;

/// Those who wait, by the number of their activity.
#[derive(Debug, Default)]
pub(super) struct AwaitedReports(BTreeMap<Seq, oneshot::Sender<Option<Report>>>);

impl AwaitedReports {
    /// `waits` wants to hear what becomes of this activity.
    pub(super) fn insert(&mut self, number: Seq, waits: oneshot::Sender<Option<Report>>) {
        self.0.insert(number, waits);
    }

    /// It is known what became of these activities, or that there will be no report.
    pub(super) fn came(&mut self, first: Seq, last: Seq, report: Option<&Report>) {
        while let Some((&number, _)) = self.0.range(first..=last).next() {
            let waits = self.0.remove(&number).expect("it was there a moment ago");
            // Whoever has stopped waiting does not hear it.
            let _ = waits.send(report.map(|report| Report { first: number, last: number, ..report.clone() }));
        }
    }
}
