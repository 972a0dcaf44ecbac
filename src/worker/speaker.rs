//! The one way out of a worker: a full JSON line at a time, flushed.

use super::Stop;
use crate::protocol::Message;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by the worker's threads; a line is never torn.
#[derive(Clone)]
pub struct Speaker(Arc<Mutex<dyn Write + Send>>);

impl Speaker {
    /// Speaks to `output`.
    pub fn new(output: impl Write + Send + 'static) -> Speaker {
        Speaker(Arc::new(Mutex::new(output)))
    }

    /// Says one line.
    pub fn say(&self, message: &Message) -> Result<(), Stop> {
        let mut line = serde_json::to_vec(message).map_err(|_| Stop::Unheard)?;
        line.push(b'\n');
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        output
            .write_all(&line)
            .and_then(|()| output.flush())
            .map_err(|_| Stop::Unheard)
    }
}
