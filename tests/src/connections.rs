//! Servers that tests play themselves: a port on the loopback interface, and a thread for each connection.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;

/// Connections are accepted until this is dropped.
#[derive(Debug)]
pub(crate) struct Connections {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Connections {
    /// Gives each connection to `serve`. `over` becomes true in the end.
    pub(crate) fn accept(
        over: &Arc<AtomicBool>,
        serve: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (serve, ended) = (Arc::new(serve), Arc::clone(over));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let serve = Arc::clone(&serve);
                // An error, such as a client that goes away, ends only its own connection.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { port, over: Arc::clone(over) })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
