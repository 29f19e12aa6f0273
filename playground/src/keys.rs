//! Keys as they are pressed, where there is a terminal to press them on.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// How often the reading thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Quit,
}

/// The keyboard. While it lives, the terminal hands over each key at once and shows none of them.
#[derive(Debug)]
pub(crate) struct Keys {
    pressed: UnboundedReceiver<Key>,
    over: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Keys {
    /// `None` where there is no terminal on both sides.
    pub(crate) fn open() -> Option<Keys> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        terminal::enable_raw_mode().ok()?;
        let (sender, pressed) = unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let reading = std::thread::spawn({
            let over = Arc::clone(&over);
            move || read(&over, &sender)
        });
        Some(Keys { pressed, over, reading: Some(reading) })
    }

    /// The next key; never, where there is no keyboard (any more).
    pub(crate) async fn next(keys: &mut Option<Keys>) -> Key {
        if let Some(keys) = keys
            && let Some(key) = keys.pressed.recv().await
        {
            return key;
        }
        std::future::pending().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(reading) = self.reading.take() {
            // It has nothing to say but that it is done.
            let _ = reading.join();
        }
        // A terminal that is gone needs no restoring.
        let _ = terminal::disable_raw_mode();
    }
}

fn read(over: &AtomicBool, pressed: &UnboundedSender<Key>) {
    while !over.load(Ordering::Relaxed) {
        match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let Ok(event) = event::read() else { return };
        if let Some(key) = meaning(&event)
            && pressed.send(key).is_err()
        {
            return;
        }
    }
}

fn meaning(event: &Event) -> Option<Key> {
    let key = event.as_key_press_event()?;
    match key.code {
        // The terminal makes no signal of it now.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q') => Some(Key::Quit),
        KeyCode::Char(key) => Some(Key::Char(key)),
        _ => None,
    }
}
