//! What every binary does first.
