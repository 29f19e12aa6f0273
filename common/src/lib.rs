//! What coordinator, worker and client share.
//!
//! Three things live here: the **wire protocol** ([`wire`]: one closed enum of messages and its codec), the **shape of a
//! machine** ([`machine`]: how a core without I/O talks to whatever drives it), and the **network shell** ([`net`]: the one
//! tokio driver for all three). Around them the small vocabulary that the cores speak: ids, time, stamps, limits.
//!
//! What is *not* here: any decision of the product. Who may log in, where an activity goes, which worker is next: those
//! live in the cores of `coordinator`, `worker` and `client`, which never import each other.

pub mod backoff;
pub mod boot;
mod changes;
pub mod epoch;
pub mod id;
pub mod limits;
pub mod machine;
pub mod net;
pub mod network_secret;
pub mod outbox;
pub mod password;
pub mod time;
pub mod token;
pub mod user;
pub mod users;
pub mod wire;
